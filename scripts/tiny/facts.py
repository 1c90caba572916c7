"""The facts the tiny model knows, and the many ways to ask for each.

A relation is a list of facts and a list of wordings. A fact is (subject, answer); a wording is a format string with
the one field {x}, the subject. The answer to a fact is one fixed sentence, however it is asked for. A tenth of the
(fact, wording) pairs is held out: training never sees them, and the evaluation asks nothing else.
"""

import hashlib
from typing import NamedTuple


class Relation(NamedTuple):
    name: str
    facts: list[tuple[str, str]]  # (subject, answer)
    wordings: list[str]  # each holds {x}


class Fact(NamedTuple):
    """A fact with wordings of its own, for what has no sisters."""

    answer: str
    clause: str  # indirect question: "how many days there are in a week"
    direct: list[str]  # direct questions


def held_out(answer: str, question: str) -> bool:
    """Whether this pair of fact and wording belongs to the tenth that training never sees."""
    return hashlib.sha256(f"{answer}|{question}".encode()).digest()[0] % 10 == 0


def capital(s: str) -> str:
    return s[:1].upper() + s[1:]


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def ask(phrase: str, *more: str) -> list[str]:
    """Wordings that ask for a noun phrase, and more that are special to the relation."""
    return [
        f"What is {phrase}?",
        f"What's {phrase}?",
        f"Tell me {phrase}.",
        f"Please tell me {phrase}.",
        f"Can you tell me {phrase}?",
        f"Could you tell me what {phrase} is?",
        f"Do you know {phrase}?",
        f"Do you know what {phrase} is?",
        f"I would like to know {phrase}.",
        f"I forgot {phrase}. What is it?",
        f"{capital(phrase)}?",
        f"{capital(phrase)} is what?",
        *more,
    ]


def wonder(clause: str, *direct: str) -> list[str]:
    """Wordings around an indirect question, beside the direct ones."""
    return [
        *direct,
        f"Can you tell me {clause}?",
        f"Could you please tell me {clause}?",
        f"Do you know {clause}?",
        f"Tell me {clause}.",
        f"Please tell me {clause}.",
        f"I would like to know {clause}.",
        f"I forgot {clause}. Can you help?",
        f"I wonder {clause}.",
    ]


COUNTRIES = """France Paris Europe|Germany Berlin Europe|Italy Rome Europe|Spain Madrid Europe|Portugal Lisbon Europe
Austria Vienna Europe|Greece Athens Europe|Poland Warsaw Europe|Sweden Stockholm Europe|Norway Oslo Europe
Finland Helsinki Europe|Denmark Copenhagen Europe|Ireland Dublin Europe|Belgium Brussels Europe|Hungary Budapest Europe
Iceland Reykjavik Europe|England London Europe|Scotland Edinburgh Europe|Romania Bucharest Europe|Croatia Zagreb Europe
Japan Tokyo Asia|China Beijing Asia|India New_Delhi Asia|Thailand Bangkok Asia|Vietnam Hanoi Asia|Nepal Kathmandu Asia
Mongolia Ulaanbaatar Asia|Egypt Cairo Africa|Kenya Nairobi Africa|Ethiopia Addis_Ababa Africa|Morocco Rabat Africa
Ghana Accra Africa|Canada Ottawa North_America|Mexico Mexico_City North_America|Cuba Havana North_America
Brazil Brasilia South_America|Argentina Buenos_Aires South_America|Peru Lima South_America|Chile Santiago South_America
Australia Canberra Oceania|New_Zealand Wellington Oceania"""
LANGUAGES = """France French|Germany German|Italy Italian|Spain Spanish|Portugal Portuguese|Austria German|Greece Greek
Poland Polish|Sweden Swedish|Norway Norwegian|Denmark Danish|Japan Japanese|Brazil Portuguese|Mexico Spanish
Argentina Spanish|Hungary Hungarian|Iceland Icelandic|Australia English|Egypt Arabic|Thailand Thai"""
MONEY = """Japan yen|India rupee|England pound|France euro|Germany euro|Italy euro|Canada dollar|Australia dollar
Mexico peso|Sweden krona|Denmark krone|Poland zloty|China yuan|Thailand baht"""
SOUNDS = """dog woof|cat meow|cow moo|duck quack|sheep baa|pig oink|lion roar|frog ribbit|bee buzz|owl hoot|horse neigh
mouse squeak|hen cluck|snake hiss|crow caw|wolf howl"""
BABIES = """dog puppy|cat kitten|cow calf|duck duckling|sheep lamb|pig piglet|lion cub|horse foal|goat kid|hen chick
frog tadpole|kangaroo joey|deer fawn|goose gosling|swan cygnet|owl owlet|bear cub"""
LEGS = """spider eight|dog four|cat four|horse four|hen two|duck two|ant six|bee six|butterfly six|cow four|snake no
owl two|crab ten|fly six|elephant four|fish no|table four"""
HOMES = """bee hive|bird nest|spider web|bear den|rabbit burrow|horse stable|dog kennel|pig sty|lion den|beaver lodge
fox den|mole burrow"""
DIETS = """panda bamboo|cow grass|rabbit carrots|monkey bananas|squirrel nuts|cat mice|penguin fish|koala leaves|sheep grass
frog flies|bear honey|horse hay|anteater ants|owl mice"""
CLASSES = """frog amphibian|snake reptile|dog mammal|whale mammal|eagle bird|shark fish|ant insect|bat mammal|penguin bird
turtle reptile|bee insect|salmon fish|lizard reptile|toad amphibian|horse mammal|owl bird|butterfly insect|dolphin mammal"""
COLOURS = """a banana=yellow|the sky=blue|grass=green|snow=white|coal=black|a lemon=yellow|a tomato=red|a carrot=orange
blood=red|milk=white|chocolate=brown|a flamingo=pink|an emerald=green|a ruby=red|a crow=black|the sun=yellow|a strawberry=red
a frog=green|an elephant=grey|a polar bear=white|a plum=purple|a pumpkin=orange|gold=yellow|a fire engine=red"""
OPPOSITES = """hot cold|big small|up down|day night|black white|happy sad|fast slow|old young|rich poor|full empty|open closed
hard soft|light dark|left right|strong weak|wet dry|early late|loud quiet|good bad|high low|long short|near far|clean dirty
easy difficult|thick thin|true false|first last|brave afraid|love hate|win lose|buy sell|push pull|begin end|tall short"""
PLURALS = """mouse mice|child children|man men|woman women|foot feet|tooth teeth|goose geese|sheep sheep|ox oxen|leaf leaves
wolf wolves|knife knives|fish fish|person people|city cities|box boxes|cat cats|baby babies|half halves|deer deer"""
PASTS = """go went|eat ate|see saw|run ran|take took|give gave|come came|find found|think thought|write wrote|sing sang
swim swam|fly flew|buy bought|make made|know knew|speak spoke|drink drank|begin began|sleep slept|walk walked|play played"""
SHAPES = "triangle three|square four|rectangle four|pentagon five|hexagon six|octagon eight|heptagon seven|decagon ten"
MIXES = "blue and yellow=green|red and yellow=orange|red and blue=purple|black and white=grey|red and white=pink"
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
WORDS = "zero one two three four five six seven eight nine ten".split()


def table(text: str, by: str | None = None) -> list[list[str]]:
    rows = text.replace("\n", "|").split("|")
    return [[c.replace("_", " ") for c in row.split(by)] for row in rows]


def ring(names: list[str], step: int) -> list[tuple[str, str]]:
    return [(n, names[(i + step) % len(names)]) for i, n in enumerate(names)]


def world() -> list[Relation]:
    lands = table(COUNTRIES)
    return [
        Relation("capital", [(c, f"The capital of {c} is {t}.") for c, t, _ in lands],
                 ask("the capital of {x}", "Which city is the capital of {x}?", "What city is the capital of {x}?",
                     "What is {x}'s capital?", "Name the capital of {x}.", "What is the capital city of {x}?")),
        Relation("country", [(t, f"{t} is the capital of {c}.") for c, t, _ in lands],
                 wonder("which country {x} is the capital of", "Which country is {x} the capital of?",
                        "What country is {x} the capital of?", "{x} is the capital of which country?",
                        "Which country has {x} as its capital?", "{x} is the capital of what?")),
        Relation("continent", [(c, f"{c} is in {k}.") for c, _, k in lands],
                 wonder("which continent {x} is in", "Which continent is {x} in?", "What continent is {x} in?",
                        "On which continent is {x}?", "Where is {x}?", "Where in the world is {x}?",
                        "What continent is {x} on?", "In what part of the world is {x}?")),
        Relation("language", [(c, f"People in {c} speak {k}.") for c, k in table(LANGUAGES)],
                 wonder("what language people speak in {x}", "What language do people speak in {x}?",
                        "Which language do people speak in {x}?", "What language is spoken in {x}?",
                        "Which language is spoken in {x}?", "What is the language of {x}?")),
        Relation("money", [(c, f"The money of {c} is the {k}.") for c, k in table(MONEY)],
                 ask("the money of {x}", "What money do people use in {x}?", "What is the currency of {x}?",
                     "Which currency does {x} use?", "What money does {x} use?", "How do people pay in {x}?")),
    ]


def animals() -> list[Relation]:
    def rows(text, sentence):
        return [(article(a), capital(sentence.format(a=article(a), b=b, ab=article(b)))) for a, b in table(text)]

    def limbs(a, n):
        return article(a), capital(f"{article(a)} has {n} legs.")

    return [
        Relation("sound", rows(SOUNDS, "{a} says {b}."),
                 wonder("what {x} says", "What does {x} say?", "What sound does {x} make?", "Which sound does {x} make?",
                        "What noise does {x} make?", "How does {x} sound?", "What is the sound of {x}?")),
        Relation("baby", [(x, f"A baby {a} is called {article(b)}.") for (a, b), x in ((r, r[0]) for r in table(BABIES))],
                 wonder("what a baby {x} is called", "What is a baby {x} called?", "What do you call a baby {x}?",
                        "What is the name for a baby {x}?", "What is a young {x} called?", "What do we call a young {x}?",
                        "A baby {x} is called what?")),
        Relation("legs", [limbs(a, n) for a, n in table(LEGS)],
                 wonder("how many legs {x} has", "How many legs does {x} have?", "How many legs has {x} got?",
                        "What number of legs does {x} have?", "{x} has how many legs?", "How many legs are there on {x}?")),
        Relation("home", rows(HOMES, "{a} lives in {ab}."),
                 wonder("where {x} lives", "Where does {x} live?", "What does {x} live in?", "What is the home of {x}?",
                        "What is the home of {x} called?", "Where is the home of {x}?", "In what does {x} live?")),
        Relation("food", rows(DIETS, "{a} eats {b}."),
                 wonder("what {x} eats", "What does {x} eat?", "What does {x} like to eat?", "What is the food of {x}?",
                        "What do you feed {x}?", "What food does {x} eat?", "What can {x} eat?")),
        Relation("class", rows(CLASSES, "{a} is {ab}."),
                 wonder("what kind of animal {x} is", "What kind of animal is {x}?", "What sort of animal is {x}?",
                        "What type of animal is {x}?", "Which kind of animal is {x}?", "{x} is what kind of animal?")),
    ]


def language() -> list[Relation]:
    return [
        Relation("colour", [(x, f"{capital(x)} is {c}.") for x, c in table(COLOURS, "=")],
                 wonder("what colour {x} is", "What colour is {x}?", "Which colour is {x}?", "What is the colour of {x}?",
                        "Which colour does {x} have?", "{x} is what colour?", "What colour does {x} have?")),
        Relation("mix", [(x, f"{capital(x)} make {c}.") for x, c in table(MIXES, "=")],
                 wonder("what colour {x} make", "What colour do {x} make?", "What do {x} make?", "Which colour do {x} make?",
                        "What colour do you get from {x}?", "What happens when I mix {x}?", "If I mix {x}, what do I get?")),
        Relation("opposite", [(a, f"The opposite of {a} is {b}.") for a, b in table(OPPOSITES)],
                 ask("the opposite of {x}", "What is the opposite word of {x}?", "Which word is the opposite of {x}?",
                     "What word means the opposite of {x}?", "Give me the opposite of {x}.", "Name the opposite of {x}.")),
        Relation("plural", [(a, f"The plural of {a} is {b}.") for a, b in table(PLURALS)],
                 ask("the plural of {x}", "Give me the plural of {x}.", "How do you write the plural of {x}?",
                     "Which word is the plural of {x}?", "What is the plural form of {x}?")),
        Relation("past", [(a, f"The past tense of {a} is {b}.") for a, b in table(PASTS)],
                 ask("the past tense of {x}", "Give me the past tense of {x}.", "Which word is the past tense of {x}?",
                     "What is the past form of {x}?", "How do you write the past tense of {x}?")),
        Relation("sides", [(article(a), f"{capital(article(a))} has {n} sides.") for a, n in table(SHAPES)],
                 wonder("how many sides {x} has", "How many sides does {x} have?", "How many sides has {x} got?",
                        "What number of sides does {x} have?", "{x} has how many sides?", "How many sides are there in {x}?")),
    ]


def order() -> list[Relation]:
    made = []
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        for word, step in (("after", 1), ("before", -1)):
            verb = "follows" if step > 0 else "precedes"
            made.append(Relation(
                f"{kind} {word}", [(n, f"The {kind} {word} {m} is {r}.") for (n, r) in ring(names, step) for m in [n]],
                ask(f"the {kind} {word} {{x}}", f"Which {kind} comes {word} {{x}}?", f"What {kind} comes {word} {{x}}?",
                    f"Which {kind} is {word} {{x}}?", f"Which {kind} {verb} {{x}}?", f"What comes {word} {{x}}?")))
    for word, step in (("after", 1), ("before", -1)):
        made.append(Relation(
            f"number {word}", [(str(n), f"The number {word} {n} is {n + step}.") for n in range(1, 21)],
            ask(f"the number {word} {{x}}", f"Which number comes {word} {{x}}?", f"What number comes {word} {{x}}?",
                f"Which number is {word} {{x}}?", f"What comes {word} {{x}}?")))
    return made


def arithmetic() -> list[Relation]:
    def sums(word, sign, pairs, result):
        facts = [(f"{a} {word} {b}", f"{a} {word} {b} is {result(a, b)}.") for a, b in pairs]
        return Relation(word, facts, ask("{x}", "How much is {x}?", "Calculate {x}.", "What do you get for {x}?",
                                         "Please work out {x}.", "{s} = ?", "What is {s}?", "{s}")), sign

    ten = range(11)
    return [spell(*sums("plus", "+", [(a, b) for a in ten for b in ten], lambda a, b: a + b)),
            spell(*sums("minus", "-", [(a, b) for a in ten for b in ten if b <= a], lambda a, b: a - b)),
            spell(*sums("times", "*", [(a, b) for a in ten for b in ten], lambda a, b: a * b))]


def spell(r: Relation, sign: str) -> Relation:
    """Marks the wordings in signs; question() writes the subject with them."""
    return Relation(r.name, r.facts, [w.replace("{s}", "{x:" + sign + "}") for w in r.wordings])


SINGLE = [
    Fact("There are seven days in a week.", "how many days there are in a week", ["How many days are there in a week?", "How many days are in a week?", "How many days does a week have?"]),
    Fact("There are twelve months in a year.", "how many months there are in a year", ["How many months are there in a year?", "How many months are in a year?", "How many months does a year have?"]),
    Fact("There are 24 hours in a day.", "how many hours there are in a day", ["How many hours are there in a day?", "How many hours are in a day?", "How many hours does a day have?"]),
    Fact("There are 60 minutes in an hour.", "how many minutes there are in an hour", ["How many minutes are there in an hour?", "How many minutes are in an hour?", "How many minutes does an hour have?"]),
    Fact("There are 60 seconds in a minute.", "how many seconds there are in a minute", ["How many seconds are there in a minute?", "How many seconds are in a minute?", "How many seconds does a minute have?"]),
    Fact("There are 365 days in a year, and 366 in a leap year.", "how many days there are in a year", ["How many days are there in a year?", "How many days are in a year?", "How many days does a year have?"]),
    Fact("There are 26 letters in the English alphabet.", "how many letters there are in the alphabet", ["How many letters are there in the alphabet?", "How many letters are in the alphabet?", "How many letters does the alphabet have?"]),
    Fact("There are eight planets around the sun.", "how many planets there are", ["How many planets are there?", "How many planets go around the sun?", "How many planets does the sun have?"]),
    Fact("The seasons are spring, summer, autumn and winter.", "what the four seasons are", ["What are the four seasons?", "Name the four seasons.", "What are the seasons?"]),
    Fact("The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.", "what the days of the week are", ["What are the days of the week?", "Name the days of the week.", "List the days of the week."]),
    Fact("Water freezes at 0 degrees Celsius.", "when water freezes", ["When does water freeze?", "At what temperature does water freeze?", "What is the freezing point of water?"]),
    Fact("Water boils at 100 degrees Celsius.", "when water boils", ["When does water boil?", "At what temperature does water boil?", "What is the boiling point of water?"]),
    Fact("The formula of water is H2O.", "the formula of water", ["What is the formula of water?", "What is the chemical formula of water?", "What is water made of?"]),
    Fact("The largest ocean is the Pacific Ocean.", "which ocean is the largest", ["What is the largest ocean?", "Which ocean is the largest?", "What is the biggest ocean?"]),
    Fact("The highest mountain is Mount Everest.", "which mountain is the highest", ["What is the highest mountain?", "Which mountain is the highest?", "What is the tallest mountain in the world?"]),
    Fact("The largest animal is the blue whale.", "which animal is the largest", ["What is the largest animal?", "Which animal is the largest?", "What is the biggest animal in the world?"]),
    Fact("The tallest animal is the giraffe.", "which animal is the tallest", ["What is the tallest animal?", "Which animal is the tallest?", "What is the tallest animal in the world?"]),
    Fact("The fastest land animal is the cheetah.", "which land animal is the fastest", ["What is the fastest land animal?", "Which land animal is the fastest?", "Which animal runs fastest?"]),
    Fact("The largest planet is Jupiter.", "which planet is the largest", ["What is the largest planet?", "Which planet is the largest?", "What is the biggest planet?"]),
    Fact("The planet closest to the sun is Mercury.", "which planet is closest to the sun", ["What is the planet closest to the sun?", "Which planet is closest to the sun?", "Which planet is nearest to the sun?"]),
    Fact("The red planet is Mars.", "which planet is called the red planet", ["What is the red planet?", "Which planet is called the red planet?", "Which planet is red?"]),
    Fact("We live on the planet Earth.", "which planet we live on", ["Which planet do we live on?", "What planet do we live on?", "On which planet do we live?"]),
    Fact("The sun is a star.", "what the sun is", ["What is the sun?", "What kind of thing is the sun?", "Is the sun a star?"]),
    Fact("The moon goes around the Earth.", "what goes around the Earth", ["What goes around the Earth?", "What does the moon go around?", "What circles the Earth?"]),
    Fact("Neil Armstrong was the first person on the moon.", "who was the first person on the moon", ["Who was the first person on the moon?", "Who was the first man on the moon?", "Who walked first on the moon?"]),
    Fact("William Shakespeare wrote Romeo and Juliet.", "who wrote Romeo and Juliet", ["Who wrote Romeo and Juliet?", "Who is the author of Romeo and Juliet?", "By whom is Romeo and Juliet?"]),
    Fact("Leonardo da Vinci painted the Mona Lisa.", "who painted the Mona Lisa", ["Who painted the Mona Lisa?", "Who is the painter of the Mona Lisa?", "By whom is the Mona Lisa?"]),
    Fact("Bees make honey.", "what bees make", ["What do bees make?", "What does a bee make?", "Which food do bees make?"]),
    Fact("Milk comes from cows.", "where milk comes from", ["Where does milk come from?", "Which animal gives milk?", "Which animals give us milk?"]),
    Fact("Wool comes from sheep.", "where wool comes from", ["Where does wool come from?", "Which animal gives wool?", "Which animals give us wool?"]),
    Fact("Bread is made of flour.", "what bread is made of", ["What is bread made of?", "What do you need for bread?", "From what is bread made?"]),
    Fact("A bicycle has two wheels.", "how many wheels a bicycle has", ["How many wheels does a bicycle have?", "How many wheels has a bicycle got?", "How many wheels are there on a bicycle?"]),
    Fact("A car has four wheels.", "how many wheels a car has", ["How many wheels does a car have?", "How many wheels has a car got?", "How many wheels are there on a car?"]),
    Fact("A hand has five fingers.", "how many fingers a hand has", ["How many fingers does a hand have?", "How many fingers are there on a hand?", "How many fingers has a hand got?"]),
    Fact("A rainbow has seven colours.", "how many colours a rainbow has", ["How many colours does a rainbow have?", "How many colours are there in a rainbow?", "How many colours are in a rainbow?"]),
    Fact("The sun rises in the east.", "where the sun rises", ["Where does the sun rise?", "In which direction does the sun rise?", "Where does the sun come up?"]),
    Fact("The sun sets in the west.", "where the sun sets", ["Where does the sun set?", "In which direction does the sun set?", "Where does the sun go down?"]),
    Fact("Fish breathe with gills.", "how fish breathe", ["How do fish breathe?", "With what do fish breathe?", "How does a fish breathe?"]),
    Fact("A doctor helps sick people.", "what a doctor does", ["What does a doctor do?", "Who helps sick people?", "What is the work of a doctor?"]),
    Fact("A baker makes bread.", "what a baker does", ["What does a baker do?", "Who makes bread?", "What is the work of a baker?"]),
    Fact("A teacher teaches children.", "what a teacher does", ["What does a teacher do?", "Who teaches children?", "What is the work of a teacher?"]),
]
