"""Publishing: whether a result may be handed on, and handing it on whole."""
