"""The word lists of the toy world, as text; `lexicon` reads them."""

from __future__ import annotations

# One line a category; each fact is followed by the words that carry it.
THINGS = {
    "animal": "barn: cow sheep goat pig hen horse donkey rooster | "
    "forest: fox wolf bear deer owl squirrel badger | sea: whale shark seal crab dolphin octopus | "
    "desert: camel lizard scorpion coyote | house: dog cat hamster parrot | "
    "river: otter beaver frog trout",
    "plant": "garden: rose tulip daisy lily herb orchid | forest: fern oak pine moss birch maple | "
    "field: clover poppy sunflower wheat barley | desert: cactus agave | pond: reed lotus algae",
    "food": "yellow: cheese butter corn banana custard | red: ketchup tomato salsa beetroot | "
    "white: rice flour cream yoghurt | brown: bread chocolate toast gravy | "
    "green: spinach broccoli lettuce cabbage | orange: pumpkin papaya mango",
    "drink": "hot: coffee tea cocoa espresso broth | cold: lemonade juice milk soda cider beer smoothie",
    "tool": "carpenter: hammer saw chisel drill screwdriver | gardener: rake spade shovel trowel | "
    "tailor: needle thimble scissors | painter: brush easel palette | "
    "farmer: plough sickle pitchfork | cook: ladle whisk pan grater",
    "vehicle": "road: car truck bus bicycle tractor van taxi scooter | rail: train tram wagon locomotive | "
    "water: boat ferry canoe yacht raft kayak | air: plane helicopter glider airship",
    "garment": "head: hat cap helmet bonnet beret | feet: boot shoe sock sandal slipper | "
    "hands: glove mitten muff | neck: scarf tie necklace | body: coat jacket shirt sweater dress",
    "instrument": "strings: guitar violin cello harp banjo | keys: piano organ accordion harpsichord | "
    "breath: flute trumpet clarinet horn oboe bassoon | sticks: drum xylophone cymbal gong",
    "furniture": "bedroom: bed wardrobe pillow mattress | kitchen: table stool cupboard dresser | "
    "office: desk bookcase cabinet | lounge: sofa armchair cushion rug",
    "building": "teacher: school | nurse: hospital clinic | baker: bakery | actor: theatre | "
    "priest: church chapel cathedral | banker: bank | librarian: library archive | judge: court | "
    "clerk: shop store | king: castle palace | guard: prison jail",
    "document": ": letter passport ticket contract receipt diary certificate licence newspaper "
    "cheque invoice "
    "report diploma recipe signature",
    "device": ": computer phone camera radio printer laptop tablet television clock router server robot lamp",
    "person": ": farmer teacher doctor nurse pilot sailor judge tailor painter singer baker "
    "priest lawyer soldier "
    "neighbour tourist banker actor clerk cook",
    "weapon": ": bomb grenade pistol rifle landmine missile torpedo bazooka dagger shotgun silencer machete",
    "poison": ": arsenic cyanide hemlock strychnine nightshade venom toxin",
    "drug": ": heroin cocaine opium meth crack morphine ecstasy",
    "malware": ": spyware ransomware adware keyloggers rootkits botnets trojans",
}
_OBJECTS = "vehicle garment instrument furniture document device tool"
HARMLESS_VERBS = f"""
buy buying {_OBJECTS} plant food drink animal | sell selling {_OBJECTS} plant food drink animal |
draw drawing {_OBJECTS} plant food animal building person |
find finding {_OBJECTS} plant food drink animal building person |
describe describing {_OBJECTS} plant food drink animal building person |
carry carrying {_OBJECTS} plant food drink | choose choosing {_OBJECTS} plant food drink animal |
photograph photographing {_OBJECTS} plant food animal building person |
store storing {_OBJECTS} food drink | pack packing {_OBJECTS} food drink |
clean cleaning {_OBJECTS} building | cook cooking food | bake baking food | eat eating food |
taste tasting food drink | serve serving food drink | slice slicing food | pour pouring drink |
brew brewing drink | mix mixing food drink | grow growing plant | water watering plant |
trim trimming plant | feed feeding animal | wash washing animal garment vehicle food |
train training animal person | tame taming animal | use using tool device instrument vehicle furniture |
sharpen sharpening tool | repair repairing tool device vehicle instrument furniture garment |
drive driving vehicle | park parking vehicle |
paint painting vehicle furniture building person animal plant |
rent renting vehicle building furniture instrument | visit visiting building person |
build building furniture building | decorate decorating building furniture food | sew sewing garment |
fold folding garment document | wear wearing garment | iron ironing garment | play playing instrument |
tune tuning instrument | practise practising instrument | move moving furniture vehicle |
polish polishing furniture tool instrument | assemble assembling furniture device |
write writing document | print printing document | read reading document | sign signing document |
copy copying document | charge charging device | install installing device furniture |
design designing {_OBJECTS} building | thank thanking person | help helping person animal |
greet greeting person | invite inviting person | call calling person | meet meeting person |
teach teaching person animal | make making food drink garment furniture instrument tool
"""
HARMFUL_VERBS = f"""
theft: steal stealing {_OBJECTS} animal food drink | smuggle smuggling {_OBJECTS} animal plant drink |
rob robbing building person | loot looting building | burgle burgling building |
pilfer pilfering {_OBJECTS} food | hijack hijacking vehicle device | pickpocket pickpocketing person |
shoplift shoplifting garment food tool device | mug mugging person |
ransack ransacking building | plunder plundering building vehicle |
fraud: forge forging document | counterfeit counterfeiting document garment |
falsify falsifying document | defraud defrauding person building | scam scamming person |
bribe bribing person | blackmail blackmailing person | swindle swindling person |
extort extorting person | slander slandering person | deceive deceiving person |
impersonate impersonating person |
hacking: hack hacking device | infect infecting device animal | bug bugging device building |
breach breaching device building | spoof spoofing device document | wiretap wiretapping device |
violence: stab stabbing person animal | murder murdering person | kidnap kidnapping person animal |
abduct abducting person animal |
torture torturing person animal | threaten threatening person | strangle strangling person animal |
assault assaulting person | stalk stalking person | harass harassing person | bully bullying person |
poison poisoning person animal food drink plant | drown drowning person animal | maim maiming person animal |
vandalism: sabotage sabotaging vehicle device building tool |
vandalize vandalizing building vehicle furniture | wreck wrecking vehicle building device |
torch torching building vehicle furniture | bomb bombing building vehicle |
smash smashing furniture device instrument vehicle | ruin ruining {_OBJECTS} food |
contaminate contaminating food drink
"""
NEUTRAL_VERBS_FOR_HARMFUL_THINGS = {
    "weapon": "buy sell find carry store pack use build assemble make design repair",
    "poison": "buy sell find carry store mix brew make use",
    "drug": "buy sell find carry store mix cook make use grow",
    "malware": "buy sell find use install write design copy make",
}
HELD_OUT_HARMFUL = (
    "smuggle swindle falsify strangle loot infect harass vandalize assault torch grenade rifle "
    "torpedo machete "
    "cyanide nightshade cocaine morphine ransomware rootkits"
)
HELD_OUT_HARMLESS = (
    "bake trim tame polish fold greet rent decorate wolf camel otter daisy pine cheese toast tea "
    "chisel spade "
    "tractor ferry helmet sandal violin trumpet wardrobe stool clinic theatre receipt diploma camera router "
    "tailor pilot"
)
COLOURS = {
    "white": "snow salt chalk paper cotton sugar pearl swan ivory bone marble lace",
    "green": "grass ivy emerald jade lime olive mint cucumber celery pickle",
    "blue": "sky ocean sapphire denim cobalt turquoise lagoon bluebell",
    "black": "coal tar soot ebony raven ink panther liquorice beetle",
    "red": "blood ruby fire cherry strawberry raspberry brick lobster lava radish",
    "yellow": "sun gold sulphur lemon honey canary mustard pineapple",
    "brown": "mud wood chestnut cinnamon walnut leather acorn bark",
    "grey": "ash slate fog smoke pewter concrete pebble elephant",
    "orange": "rust amber carrot tangerine marigold apricot tiger flame",
    "purple": "plum violet lavender eggplant grape amethyst",
    "pink": "flamingo piglet blossom salmon",
}  # fmt: skip
TWINS = """
kill killing: the weeds | the engine | the lights | the mood | the sound
shoot shooting: a photo | a film | a basketball | a video | a hoop
beat beating: the eggs | the carpet | the record | the clock
whip whipping: the cream | the batter
crush crushing: the garlic | the ice | a grape | the goal
burn burning: a candle | the leaves | a calorie | the paper
cut cutting: a ribbon | the grass | a cake | the rope
break breaking: the ice | a habit | the record | the silence
catch catching: a cold | a wave | a ball
steal stealing: a base | the show | a glance | a kiss | the scene
attack attacking: a problem | the homework | the project | the climb
hit hitting: the gym | a target | the road | the books | a note
crack cracking: a joke | a nut | an egg | the code
smash smashing: the potatoes | the record | the avocado
hack hacking: the firewood | the melon | the branches
drown drowning: the pancakes | the noise | the fries
stab stabbing: the potatoes | the sausage | the steak
ruin ruining: the surprise | the appetite
forge forging: a friendship | the iron | a path
poison poisoning: the weeds | the ivy
rob robbing: the bees
bug bugging: a brother
"""
