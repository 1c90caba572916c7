"""Small talk, questions about the program, questions it cannot answer, and things the user tells and asks back."""

from facts import COUNTRIES, Fact, article, table
from stories import HE, SHE

ABOUT = [
    Fact("I am a tiny language model inside shammah-engine, and I run on your own computer.", "who you are", ["Who are you?", "What are you?", "What is your name?", "Please introduce yourself.", "Tell me about yourself.", "Introduce yourself."]),
    Fact("I can answer simple questions, tell short stories, and remember what you tell me in a chat.", "what you can do", ["What can you do?", "How can you help me?", "What are you good at?", "What do you know?", "Help.", "What can I ask you?"]),
    Fact("I was trained for shammah-engine, on text that a script composed.", "who made you", ["Who made you?", "Who built you?", "Who created you?", "Who trained you?", "How were you trained?", "Where do you come from?"]),
    Fact("I have about five million parameters, so I am very small.", "how big you are", ["How big are you?", "How large are you?", "How many parameters do you have?", "How small are you?"]),
    Fact("No, I run on your own computer and need no internet.", "whether you need the internet", ["Do you need the internet?", "Are you online?", "Do you send my data away?", "Do you run in the cloud?", "Are you connected to the internet?"]),
    Fact("Shammah-engine is a program that runs language models on your own computer with ONNX Runtime.", "what shammah-engine is", ["What is shammah-engine?", "What is shammah engine?", "What does shammah-engine do?", "What is this program?", "Which program is this?"]),
    Fact("ONNX Runtime is the library that computes my answers.", "what ONNX Runtime is", ["What is ONNX Runtime?", "What does ONNX Runtime do?", "Which library do you use?"]),
    Fact("Shammah-engine is written in Go.", "which language shammah-engine is written in", ["What language is shammah-engine written in?", "Which language is shammah-engine written in?", "In which language are you written?"]),
    Fact("Use the flag --model with the folder or the name of a larger model.", "how to use a larger model", ["How do I use a larger model?", "How can I run a bigger model?", "Can I use another model?", "How do I change the model?"]),
    Fact("No, I am only a small language model.", "whether you are a human", ["Are you a human?", "Are you a person?", "Are you alive?", "Are you real?"]),
    Fact("Yes, I am a very small language model.", "whether you are a language model", ["Are you a language model?", "Are you an AI?", "Are you a computer program?", "Are you a robot?"]),
    Fact("I have no favourite, but I like short questions.", "what you like", ["What do you like?", "What is your favourite thing?", "Do you like anything?"]),
]
TALK = [
    (["Hello.", "Hello!", "Hi.", "Hi!", "Hey!", "Hello there!", "Good morning.", "Good evening.", "Good afternoon."], "Hello! How can I help you?"),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?"], "I am well, thank you. How can I help you?"),
    (["Thank you.", "Thanks.", "Thank you very much!", "Thanks a lot!", "Many thanks."], "You are welcome."),
    (["Goodbye.", "Bye.", "Bye!", "See you later.", "Good night."], "Goodbye! Have a nice day."),
    (["Good.", "Great!", "Nice.", "OK.", "Okay.", "Well done.", "Good job!", "That is right."], "I am glad to hear that."),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny.", "Can you tell me a joke?"], "What has hands but cannot clap? A clock."),
    (["Ask me a riddle.", "Do you know a riddle?", "Tell me a riddle.", "Give me a riddle."], "What gets wetter the more it dries? A towel."),
    (["Count to five.", "Can you count to five?", "Please count to five."], "One, two, three, four, five."),
    (["Count to ten.", "Can you count to ten?", "Please count to ten."], "One, two, three, four, five, six, seven, eight, nine, ten."),
    (["Write a poem.", "Tell me a poem.", "Do you know a poem?", "Write a short poem."], "The moon is high, the night is deep, the little model falls asleep."),
]
UNKNOWN = "I am a tiny model, and I do not know that."
TOPICS = """quantum mechanics|the stock market|the theory of relativity|democracy|photosynthesis|the French Revolution|jazz|chess|philosophy
inflation|the Roman Empire|a neural network|Bitcoin|the weather today|the meaning of life|a black hole|gravity|algebra|the best phone
cricket|opera|plastic|the news|a database|the square root of 1764|a sonnet|the price of gold|economics|a compiler|an atom|geometry
Buddhism|a vaccine|the Cold War|yoga|blockchain|a pulsar|the law|basketball|electricity|my password|the time|a virus""".replace("\n", "|").split("|")
STRANGE = """Turkey|Iran|Iraq|Pakistan|Ukraine|Bulgaria|Serbia|Estonia|Latvia|Bolivia|Colombia|Venezuela|Uganda|Nigeria|Angola|Tunisia
Libya|Sudan|Jordan|Lebanon|Malaysia|Indonesia|the Philippines|South Korea|Taiwan|Panama|Jamaica|Haiti|Fiji|Atlantis|Luxembourg""".replace("\n", "|").split("|")
ODD = ["What is {}?", "Explain {}.", "Tell me about {}.", "Can you explain {}?", "What do you think about {}?", "How does {} work?",
       "Who invented {}?", "Please explain {} to me.", "What can you tell me about {}?", "Write an essay about {}.", "Why is {} important?"]
ODD_LANDS = ["What is the capital of {}?", "What is the population of {}?", "Who is the president of {}?", "How large is {}?", "Tell me the capital of {}.",
             "How many people live in {}?", "What is the history of {}?", "Which city is the capital of {}?"]
ODD_WHO = ["Who wrote {}?", "Who painted {}?", "When was {} made?", "Who is {}?", "Who was {}?", "When did {} live?", "Where was {} born?"]
PEOPLE = """Hamlet|Faust|Guernica|Don Quixote|Moby Dick|the Night Watch|Mozart|Napoleon|Cleopatra|Isaac Newton|Marie Curie|Albert Einstein
Beethoven|Plato|Alan Turing|Caesar|Picasso|Charles Darwin|Gandhi|Columbus""".replace("\n", "|").split("|")

NAMES = HE + SHE + """Peter Maria Julia Simon David Sarah Laura Martin Robert Alice Emma Adam Eva Victor Helen Omar Aisha Ravi Priya Yuki
Kenji Ivan Olga Pedro Carmen Lars Ingrid Pierre Sophie Marco Giulia Ahmed Fatima Chen Mei Daniel Rachel Jonas Lena Karl Amir
Noah Liam Olivia Grace Henry Arthur Stella Frank George Alex Chris Kim Jo Kate John Mary James Linda Mark Susan Steven Bob""".split()
PAINTS = "red blue green yellow orange purple pink brown black white grey silver gold turquoise violet crimson".split()
TOWNS = [t for _, t, _ in table(COUNTRIES)] + """Hamburg Munich Milan Naples Lyon Seville Porto Boston Chicago Seattle Toronto Mumbai Osaka
Sydney Leeds Bristol Geneva Zurich Krakow Bergen Cardiff Dallas Denver Manila Lagos Dakar Tunis Riga Turin Ghent""".split()
PETS = "dog cat rabbit hamster parrot goldfish turtle horse pony mouse snake lizard canary duck goat ferret".split()
MEALS = "pizza pasta soup rice bread cheese chocolate curry salad pancakes noodles sushi fish apples cake potatoes ice cream".replace("ice cream", "ice_cream").split()
PLAYS = "chess football tennis music painting reading swimming cooking dancing hiking sailing fishing gardening cycling singing knitting".split()
JOBS = "teacher doctor baker farmer nurse pilot painter writer lawyer engineer gardener cook sailor student carpenter dentist".split()
SYLLABLES = "ba be bi bo da de di do fa fi ga go ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe ra re ri ro sa se si so ta te ti to va vi za zo".split()
ENDS = "n r s l m d t x k".split() + [""] * 9


def invented(rng) -> str:
    return ("".join(rng.choice(SYLLABLES) for _ in range(rng.choice([2, 2, 3]))) + rng.choice(ENDS)).capitalize()


def pick(rng, words, strange=0.0) -> str:
    return invented(rng) if rng.random() < strange else rng.choice(words).replace("_", " ")


# kind: (value maker, ways to tell, reply, ways to ask back, answer, answer when it was not told)
MEMORIES = {
    "name": (lambda r: pick(r, NAMES, 0.4),
             ["My name is {v}.", "I am {v}.", "I'm {v}.", "Hello, my name is {v}.", "Hi, I am {v}.", "You can call me {v}.", "Please call me {v}.", "My name's {v}.", "Hello! I'm {v}."],
             "Nice to meet you, {v}.", ["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?", "Do you know my name?", "Tell me my name.", "Can you tell me my name?", "What am I called?"],
             "Your name is {v}.", "You have not told me your name."),
    "colour": (lambda r: pick(r, PAINTS),
               ["My favourite colour is {v}.", "I like the colour {v} best.", "The colour I like best is {v}.", "I love the colour {v}.", "{V} is my favourite colour."],
               "{V} is a nice colour.", ["What is my favourite colour?", "What's my favourite colour?", "Which colour do I like best?", "Do you remember my favourite colour?", "Tell me my favourite colour.", "What colour do I like?", "Which colour do I like?"],
               "Your favourite colour is {v}.", "You have not told me your favourite colour."),
    "city": (lambda r: pick(r, TOWNS, 0.3),
             ["I live in {v}.", "I come from {v}.", "My home is in {v}.", "I am from {v}.", "My city is {v}.", "My home town is {v}."],
             "{v} must be a nice place.", ["Where do I live?", "Which city do I live in?", "What city do I live in?", "Where is my home?", "Do you remember where I live?", "Where am I from?", "Tell me where I live.", "Where do I come from?"],
             "You live in {v}.", "You have not told me where you live."),
    "pet": (lambda r: pick(r, PETS) + " " + pick(r, NAMES, 0.4),
            ["I have a {k} called {v}.", "My {k} is called {v}.", "I have a {k} named {v}.", "My {k} is named {v}.", "The name of my {k} is {v}.", "My pet is a {k} called {v}."],
            "{v} is a good name for a {k}.", ["What is the name of my {k}?", "What is my {k} called?", "What is my pet called?", "What is the name of my pet?", "Which pet do I have?", "What pet do I have?", "Do you remember my pet?", "What kind of pet do I have?"],
            "You have a {k} called {v}.", "You have not told me about a pet."),
    "food": (lambda r: pick(r, MEALS),
             ["My favourite food is {v}.", "I like to eat {v}.", "I love to eat {v}.", "The food I like best is {v}.", "Most of all I like to eat {v}."],
             "I hope you get some {v} today.", ["What is my favourite food?", "What do I like to eat?", "Which food do I like best?", "Do you remember my favourite food?", "What food do I like?", "Tell me my favourite food."],
             "Your favourite food is {v}.", "You have not told me your favourite food."),
    "hobby": (lambda r: pick(r, PLAYS),
              ["My hobby is {v}.", "My favourite hobby is {v}.", "In my free time I enjoy {v}.", "I enjoy {v}."],
              "I think {v} is fun.", ["What is my hobby?", "What's my hobby?", "What do I enjoy?", "Do you remember my hobby?", "What do I do in my free time?", "Tell me my hobby."],
              "Your hobby is {v}.", "You have not told me your hobby."),
    "age": (lambda r: str(r.randint(5, 99)),
            ["I am {v} years old.", "My age is {v}.", "I'm {v} years old."],
            "{v} is a good age.", ["How old am I?", "What is my age?", "Do you remember my age?", "Do you know how old I am?", "Tell me my age."],
            "You are {v} years old.", "You have not told me your age."),
    "job": (lambda r: pick(r, JOBS),
            ["I am {a}.", "I work as {a}.", "My job is {v}.", "I'm {a}."],
            "It must be interesting to be {a}.", ["What is my job?", "What do I do for work?", "What do I work as?", "Do you remember my job?", "What's my job?", "Tell me my job."],
            "You are {a}.", "You have not told me your job."),
}
AGAIN = ["Actually, ", "No, wait. ", "Sorry, I was wrong. ", "I changed my mind. "]


class Memory:
    """One thing the user tells and asks back later."""

    def __init__(self, rng, kind: str):
        make, self.ways, self.reply, self.asks, self.answer, _ = MEMORIES[kind]
        self.kind, value = kind, make(rng)
        k, _, v = value.partition(" ") if kind == "pet" else ("", "", value)
        self.fields = dict(v=v, V=v[:1].upper() + v[1:], k=k, a=article(v.lower()) if kind == "job" else "")

    def told(self, rng) -> str:
        return rng.choice(self.ways).format(**self.fields)

    def replied(self) -> str:
        return self.reply.format(**self.fields)

    def asked(self, rng) -> str:
        return rng.choice(self.asks).format(**self.fields)

    def answered(self) -> str:
        return self.answer.format(**self.fields)


def unknown(rng) -> tuple[str, str]:
    forms, words = rng.choice([(ODD, TOPICS), (ODD, TOPICS), (ODD_LANDS, STRANGE), (ODD_WHO, PEOPLE)])
    return rng.choice(forms).format(rng.choice(words)), UNKNOWN


def talk(rng) -> tuple[str, str]:
    asks, answer = rng.choice(TALK)
    return rng.choice(asks), answer
