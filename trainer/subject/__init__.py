"""The model under study, run by transformers: the only room of this house that knows torch.

model      loading, where its blocks stand, and its tokenizer
hooks      what is read and written at a hook point, watched or replaced
harvest    activations, pass after pass
splice     the loss with a dictionary in the model's place
    writing    texts that the model writes itself
"""
