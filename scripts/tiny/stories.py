"""Short stories about one hero and one friend: a plot, six or seven sentences, each in several forms."""

import random

from facts import article

HE = "Tom Max Ben Leo Sam Finn Otto Hugo Felix Oscar Milo Theo Jack Paul Emil Rufus Barney Toby Gus Pip".split()
SHE = "Anna Lily Mia Ella Rosa Clara Nina Ruby Daisy Lucy Greta Molly Ida Nora Tess Penny Bella Zoe Hazel Flora".split()
BEASTS = """fox rabbit bear mouse cat dog owl frog duck hen squirrel hedgehog turtle lion elephant horse pig goat sheep wolf bird
bee dragon monkey penguin snail crow deer badger beaver robin otter""".split()
HEROES = BEASTS + """zebra unicorn camel parrot kangaroo tiger whale crab ant butterfly giraffe crocodile swan goose donkey puppy kitten
robot wizard knight farmer sailor baker pirate fairy giant clown doctor teacher dwarf ghost""".split()
MEN, WOMEN = ["boy", "king", "prince"], ["girl", "queen", "princess", "witch"]
TRAITS = "little kind brave clever young shy curious gentle lazy small hungry cheerful".split()
PLACES = [
    "in a green forest", "by a quiet lake", "near a small village", "on a high hill", "by the sea", "at the edge of a wood",
    "in an old mill", "on a sunny farm", "beside a wide river", "in a deep valley", "in a small house", "under a big oak tree",
]
THINGS = "key ball hat ring lamp bell drum book boat basket blanket scarf".split()
FOODS = "bread cake cheese honey soup rice porridge".split()

# A sentence is a list of forms. Fields: n hero's name, h hero's kind, f friend ("the owl"), af ("an owl"), he/him/his/He/His, t thing, d food.
PLOTS = [
    [["One day, {n} lost {his} {t}.", "One morning, {n} could not find {his} {t}."],
     ["{He} looked under the bed and behind the door, but the {t} was not there.", "{He} looked here and there, but the {t} was gone."],
     ["{n} sat down and began to cry.", "{n} felt very sad."],
     ["Then {af} came by and asked, \"Why are you so sad?\"", "Just then, {af} came along and asked what was wrong."],
     ["\"I lost my {t},\" said {n}.", "\"My {t} is gone,\" {he} said."],
     ["{F} helped {him} look, and soon they found the {t} under some leaves.", "They looked together, and {f} saw the {t} in the tall grass."],
     ["{n} was so happy that {he} danced, and from that day on they were friends.", "\"Thank you!\" said {n}, and the two became good friends."]],
    [["One day, {n} heard a cry for help.", "One afternoon, {n} heard someone call for help."],
     ["{He} ran to look and saw {af} in a deep hole.", "{He} went to see, and there was {af} in a deep hole."],
     ["\"Please help me,\" said {f}. \"I cannot get out.\"", "\"I fell in, and I cannot climb out,\" said {f}."],
     ["{n} thought for a while and then fetched a long rope.", "{n} had an idea and ran home for a rope."],
     ["{He} pulled and pulled, and at last {f} was free.", "{He} held one end and pulled with all {his} strength until {f} was out."],
     ["\"Thank you,\" said {f}. \"I will never forget this.\"", "\"You saved me,\" said {f}."],
     ["The next winter, {f} brought {n} food every day, for one good turn deserves another.", "Later, when {n} was ill, {f} came and cooked soup for {him}."]],
    [["{n} was afraid of the dark.", "There was one thing that {n} feared: the dark."],
     ["Every night {he} hid under {his} blanket and could not sleep.", "When the sun went down, {he} closed the door and hid under the blanket."],
     ["One evening {f} came to visit {him}.", "One night {f} knocked at {his} door."],
     ["\"Come outside,\" said {f}. \"I want to show you something.\"", "\"Come with me,\" said {f}, \"and do not be afraid.\""],
     ["They walked up the hill, and {n} looked at the sky.", "They sat down in the grass, and {n} looked up."],
     ["It was full of bright stars.", "A thousand stars were shining."],
     ["\"Without the dark we could not see them,\" said {f}, and {n} was never afraid again.", "\"The night is beautiful,\" said {n}, and after that {he} slept well."]],
    [["One cold day, {n} had only a little {d} left.", "It was winter, and {n} had just a little {d} to eat."],
     ["{He} was about to eat when {af} knocked at the door.", "As {he} sat down to eat, {af} came to the door."],
     ["\"I have not eaten for two days,\" said {f}.", "\"I am so hungry,\" said {f}."],
     ["{n} looked at the {d} and then at {f}.", "{n} was hungry too, but {he} felt sorry for {f}."],
     ["\"Come in,\" {he} said. \"We will share.\"", "\"There is enough for two,\" {he} said."],
     ["They ate together and told each other stories by the fire.", "They shared the {d} and talked until late at night."],
     ["In the morning the snow was gone, and {f} brought a big basket of food to say thank you.", "{n} found that a small meal with a friend is better than a big meal alone."]],
    [["One day, {n} wanted to build a boat.", "{n} dreamed of a boat of {his} own."],
     ["{He} took some wood and a hammer and worked all day.", "{He} found some wood and worked from morning to evening."],
     ["But when {he} put it on the water, the boat sank.", "But the boat was full of holes, and it sank at once."],
     ["{n} was angry and wanted to give up.", "\"I will never try again,\" said {n}."],
     ["\"Try once more,\" said {f}, \"and I will help you.\"", "Then {f} said, \"Do not give up. Let us do it together.\""],
     ["They closed every hole, and the next day the boat floated.", "They worked slowly and with care, and this time the boat did not sink."],
     ["{n} and {f} sailed across the water and laughed all the way.", "So {n} learned that it is good to try again."]],
    [["One day, {n} went for a long walk and lost {his} way.", "One afternoon, {n} walked too far and got lost."],
     ["The sun went down, and everything looked strange.", "It grew dark, and {he} did not know where to go."],
     ["{n} called, but nobody answered.", "\"Is anybody there?\" called {n}."],
     ["Then {he} saw a small light between the trees.", "At last {he} saw a light far away."],
     ["It was the house of {af}.", "The light came from the window of {af}."],
     ["\"Follow the river,\" said {f}, \"and it will lead you home.\"", "{F} gave {him} warm soup and showed {him} the way home."],
     ["Soon {n} was back in {his} own bed, tired and happy.", "{n} came home before midnight and never forgot the kind {fk}."]],
    [["In spring, {n} found a tiny seed.", "One day in spring, {n} found a small seed on the path."],
     ["{He} planted it in the garden and gave it water.", "{He} put it into the ground and watered it every day."],
     ["For many days nothing happened.", "Day after day {he} looked, but nothing grew."],
     ["\"Be patient,\" said {f}. \"Good things need time.\"", "\"You must wait,\" said {f}."],
     ["So {n} waited through the rain and the sun.", "So {n} waited and did not forget the water."],
     ["One morning there was a green leaf, and then a big yellow flower.", "At last a flower opened, as tall as {n}."],
     ["{n} gave its first seed to {f}, so that both could have a flower.", "{n} smiled, for it was the most beautiful flower of all."]],
    [["One day, {n} and {f} wanted to know who was faster.", "One sunny day, {n} said to {f}, \"Let us have a race!\""],
     ["They agreed to run to the old bridge and back.", "They would run from the big tree to the river."],
     ["{n} ran ahead and was soon far away.", "At first {n} was much faster."],
     ["But then {he} heard a cry: {f} had fallen.", "Then {he} looked back and saw that {f} had hurt a foot."],
     ["{n} could have won, but {he} turned around.", "{n} stopped at once and went back."],
     ["{He} helped {f} up, and they walked on side by side.", "\"A friend is more than a race,\" {he} said, and helped {f} up."],
     ["They crossed the line together, and both of them had won.", "In the end nobody asked who was faster."]],
    [["One evening, a great storm came.", "One night, there was a terrible storm."],
     ["The wind blew the roof from the house of {f}.", "The wind broke the house of {f}."],
     ["{n} saw it and ran out into the rain.", "When {n} heard it, {he} put on {his} coat and ran outside."],
     ["\"Come to my house,\" {he} said. \"It is warm and dry.\"", "\"You can stay with me,\" {he} called."],
     ["All night they sat by the fire and listened to the wind.", "They drank hot tea and waited for the morning."],
     ["The next day they built the house again, stronger than before.", "When the sun came out, they built a new roof together."],
     ["\"Now I am not afraid of any storm,\" said {f}, \"because I have a friend.\"", "Since then they help each other whenever the wind blows."]],
    [["One day, {n} broke the window of {f} with a ball.", "One day, while {n} was playing, {his} ball broke a window of {f}."],
     ["Nobody had seen it, and {n} ran away.", "{n} was frightened and hid behind a tree."],
     ["But {he} could not stop thinking about it.", "That night {he} could not sleep."],
     ["In the morning {he} went to {f} and told the truth.", "The next day {he} knocked at the door and said, \"It was me.\""],
     ["\"I am sorry,\" {he} said. \"I will repair it.\"", "\"I am very sorry,\" {he} said, \"and I want to make it good.\""],
     ["{F} was not angry at all.", "{F} smiled and was glad that {he} had come."],
     ["They put in a new window together, and {n} felt light and happy.", "\"It takes courage to tell the truth,\" said {f}."]],
    [["It was the birthday of {n}, but nobody seemed to remember.", "On {his} birthday, {n} woke up, but nobody was there."],
     ["{He} walked through the village, and every door was closed.", "{He} went to see {f}, but the house was empty."],
     ["\"They have all forgotten me,\" {he} thought.", "\"Nobody thinks of me,\" said {n}."],
     ["Sadly {he} went home and opened the door.", "In the evening {he} came home with a heavy heart."],
     ["\"Surprise!\" called {f}, and all the friends were there.", "There stood {f} with all the others, and they began to sing."],
     ["On the table was a big cake, and beside it lay a new {t}.", "{F} gave {him} a new {t}, and there was cake for everyone."],
     ["It was the best birthday that {n} ever had.", "They danced until late, and {n} was very happy."]],
    [["One day, {n} found an old map.", "One rainy day, {n} found a map in an old box."],
     ["It showed the way to a treasure on a far hill.", "On it was a red cross, and {he} knew that it meant a treasure."],
     ["{n} asked {f} to come along, and they set out at once.", "\"Come with me,\" {he} said to {f}, and they left before noon."],
     ["They crossed a river and climbed over many stones.", "The way was long, but they sang as they walked."],
     ["At the red cross they dug and found a small box.", "When they came to the place, they dug until they found a box."],
     ["In it lay a note: \"The best treasure is a friend who walks with you.\"", "There was no gold in it, only a {t} and two cups."],
     ["{n} looked at {f} and laughed, for it was true.", "They laughed, drank tea from their bottle, and were happy all the same."]],
]
OPENINGS = ["Once upon a time, there was {at} {h} named {n}. {He} lived {p}.", "Once there was {at} {h} called {n} who lived {p}.",
            "{P} lived {at} {h}. {His} name was {n}.", "There once was {at} {h} named {n}, and {he} lived {p}."]


def tell(rng, hero: str | None = None, name: str | None = None, friend: str | None = None) -> tuple[str, dict]:
    """A story, and the fields it was made of.

    Each hero has a story, a home and a name that are told more often than others, so that greedy decoding tells
    different stories of different heroes.
    """
    hero = hero or rng.choice(HEROES + MEN + WOMEN)
    usual = random.Random(hero)
    favourites = usual.choice(PLOTS), usual.choice(PLACES), usual.choice(OPENINGS), usual.random() < 0.5, usual.random()
    plot, place, opening = (f if rng.random() < 0.7 else rng.choice(all) for f, all in zip(favourites, (PLOTS, PLACES, OPENINGS)))
    named = rng.random() < 0.7
    he = hero in MEN or (hero not in WOMEN and (name in HE if name else favourites[3] if named else rng.random() < 0.5))
    names = HE if he else SHE
    name = name or (names[int(favourites[4] * len(names))] if named else rng.choice(names))
    friend = friend or rng.choice([b for b in BEASTS if b != hero])
    v = dict(n=name, h=hero, at=article(rng.choice(TRAITS)), p=place, P=place[0].upper() + place[1:], f="the " + friend,
             F="The " + friend, fk=friend, af=article(friend), t=rng.choice(THINGS), d=rng.choice(FOODS),
             **dict(zip(("he", "him", "his", "He", "His"), ("he", "him", "his", "He", "His") if he else ("she", "her", "her", "She", "Her"))))
    forms = [opening] + [rng.choice(s) for s in plot]
    return " ".join(f.format(**v) for f in forms), v


def request(rng) -> tuple[str, str, dict]:
    """A wish for a story, and the story that grants it."""
    kind = rng.random()
    if kind < 0.12:
        text, v = tell(rng)
        return rng.choice(["Tell me a story.", "Can you tell me a story?", "Please tell me a short story.", "I want to hear a story.",
                           "Write a short story.", "Do you know a story?", "Tell me a bedtime story."]), text, v
    hero = rng.choice(HEROES + MEN + WOMEN)
    name = None
    about = article(hero)
    if kind > 0.7:
        name = rng.choice(HE if hero in MEN or (hero not in WOMEN and rng.random() < 0.5) else SHE)
        about += rng.choice([" named ", " called "]) + name
    friend = None
    if 0.5 < kind < 0.7:
        friend = rng.choice([b for b in BEASTS if b != hero])
        about += " and " + article(friend)
    text, v = tell(rng, hero, name, friend)
    return rng.choice(["Tell me a story about {}.", "Tell me a short story about {}.", "Please tell me a story about {}.",
                       "Can you tell me a story about {}?", "Write a story about {}.", "Write a short story about {}.",
                       "I would like a story about {}.", "Do you know a story about {}?", "A story about {}, please."]).format(about), text, v
