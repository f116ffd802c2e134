"""What the studio's speakers say: sentences written for this corpus, by topic and polarity.

They are what a client might say in a counselling conversation about everyday life. The three polarities of a topic
share its words as far as natural speech allows, so that the topic alone tells nothing.
"""

from dataclasses import dataclass
from typing import Final

from subtext.labels import POLARITIES


@dataclass(frozen=True)
class Sentence:
    """One thing to say.

    Attributes:
        text: the words.
        topic: what they are about.
        polarity: -1, 0 or 1.
    """

    text: str
    topic: str
    polarity: int


_SLEEP_NEGATIVE = """
I lie awake every night and I am exhausted.
The nightmares are back and they terrify me.
I dread going to bed because sleep never comes.
I woke up at three again, feeling completely hopeless.
My sleep is ruined and everything hurts in the morning.
I am so tired that I cry over nothing.
Another awful night, I barely slept an hour.
I hate how worn out and miserable I feel each morning.
The worrying gets worse as soon as the light is off.
Not sleeping is slowly destroying me.
I was up until four again, staring at the ceiling.
The nights are the loneliest part of my day.
"""
_SLEEP_NEUTRAL = """
I usually go to bed at about eleven.
The alarm is set for half past six on weekdays.
I sleep on the left side of the bed.
We changed the curtains in the bedroom last month.
I read two pages before I switch off the light.
On Sundays I get up an hour later than usual.
The mattress is one metre forty wide.
I slept seven hours last night, according to my watch.
My phone stays on the shelf during the night.
I had a cup of tea before going to bed.
The bedroom window faces the street.
I take a short nap on some afternoons.
"""
_SLEEP_POSITIVE = """
I finally slept through the night and I feel wonderful.
I woke up rested and full of energy today.
The nightmares are gone and I am so relieved.
I love my quiet evenings before bed now.
Last night was the best sleep I have had in years.
I feel calm and happy when I lie down.
It is lovely to wake up before the alarm and smile.
Sleeping well again has made me so cheerful.
I had a beautiful dream and woke up laughing.
My mornings feel fresh and hopeful again.
I slept right through and did not wake up once.
I fall asleep easily now, it is a real joy.
"""
_WORK_NEGATIVE = """
My boss humiliated me in front of everyone.
I lost my job and I feel like a failure.
Work is unbearable, I feel sick every Monday.
They ignored everything I did, it hurts so much.
I am overwhelmed by the deadlines and I cannot cope.
The meeting went terribly and I was ashamed.
My colleagues make fun of me and I hate it.
I am burnt out and nothing I do is good enough.
They rejected my application again, it is crushing.
I was so anxious at work that my hands shook.
They did not renew my contract after nine years.
I feel worthless whenever I sit down at that desk.
"""
_WORK_NEUTRAL = """
The meeting starts at nine and ends at ten.
I work in the office on Tuesdays and Thursdays.
My desk is next to the printer on the second floor.
We use the same software as the other department.
I sent the report to the accounts team yesterday.
There are about forty people in our building.
My shift runs from two until ten this week.
I answer emails in the morning and calls after lunch.
The contract lasts until the end of September.
I take the stairs up to the office.
We order paper and toner once a month.
The new schedule is on the board in the hallway.
"""
_WORK_POSITIVE = """
I got the promotion and I am thrilled.
My boss praised my work and I felt so proud.
I really enjoy my new job, it is wonderful.
The presentation went brilliantly and everyone clapped.
My colleagues are so kind, I love working with them.
I finished the project and it feels fantastic.
They offered me the position and I jumped for joy.
I feel confident and appreciated at work now.
We won the contract and celebrated all evening.
It is great to be good at something again.
They asked me to lead the new team from June.
The customers thanked me warmly, it made my day.
"""
_FAMILY_NEGATIVE = """
My mother is dying and I am heartbroken.
My father shouted at me and I felt so small.
My family never listens and it makes me furious.
We had a horrible fight at dinner again.
My brother will not speak to me and it hurts.
I feel guilty because I failed my children.
My sister betrayed me and I cannot forgive her.
The divorce is tearing all of us apart.
I miss my grandmother so badly that I ache.
My son screams that he hates me, it is awful.
My brother has not called since our mother died.
I am scared of what my father will do.
"""
_FAMILY_NEUTRAL = """
My sister lives two streets away from my parents.
We have dinner together on Sundays at six.
My brother is three years older than me.
My mother works at the library in town.
I call my parents about once a week.
My daughter is in the fourth grade this year.
There are five people in our household.
My uncle drives a delivery van for a bakery.
My grandparents moved here from the coast.
We split the housework between the two of us.
My cousin has the same first name as my father.
My son takes the bus to school in the morning.
"""
_FAMILY_POSITIVE = """
My daughter was born and I have never been happier.
My mother is healthy again and we are overjoyed.
My father hugged me and said he was proud.
We laughed so much at dinner, it was wonderful.
My brother and I made up and I am so glad.
I love spending time with my children.
My sister surprised me with a beautiful gift.
The whole family came and it was a lovely party.
My grandmother's stories always make me smile.
My son told me I am the best dad ever.
My son took his first steps towards me yesterday.
We are closer than ever, and it feels great.
"""
_FRIENDS_NEGATIVE = """
All my friends have abandoned me and I feel so alone.
Nobody came to my birthday and I was devastated.
My best friend lied to me and I am so hurt.
They laughed behind my back, it was humiliating.
I have no one to talk to and it is unbearable.
She broke up with me and I feel empty.
He ignores my messages and I feel rejected.
I ruined the friendship and I regret it bitterly.
I feel like a burden to everyone I know.
The loneliness at weekends is crushing me.
I waited for two hours and nobody came.
I am so afraid of losing the only friend I have.
"""
_FRIENDS_NEUTRAL = """
I met a friend at the corner cafe on Friday.
We talked about the schedule for next week.
My friend parks her car behind the school.
Four of us share the same train in the morning.
He texted me the address of the restaurant.
We usually meet at the bus stop at noon.
My neighbour and I went to the same college.
She lent me a ladder and two paint brushes.
There were six people at the table.
My friend's flat is on the third floor.
We play cards there every other Wednesday.
I have known him since the spring of last year.
"""
_FRIENDS_POSITIVE = """
My friends threw me a party and I was so happy.
I met someone wonderful and I cannot stop smiling.
My best friend visited and we had a fantastic time.
I feel so lucky to have such kind friends.
We danced all night, it was amazing.
He called just to cheer me up, how sweet.
She said yes and I am over the moon.
I made a new friend and it feels great.
We laughed until our faces hurt, I loved it.
I am grateful that my friends believe in me.
They drove all night just to be at my birthday.
It was so good to see her again after all these years.
"""
_HEALTH_NEGATIVE = """
The pain is getting worse and I am terrified.
The doctor gave me bad news and I broke down.
I had another panic attack, it was horrifying.
I hate my body and how weak it has become.
I am sick of being ill, it never ends.
The treatment failed and I have lost all hope.
My chest hurts and I worry all the time.
I feel so depressed that I cannot get up.
The side effects are dreadful and I am miserable.
I am frightened that the illness will come back.
They found another shadow on the scan.
I cannot bear another operation, I am desperate.
"""
_HEALTH_NEUTRAL = """
I have an appointment with the dentist on Monday.
The clinic is opposite the post office.
I take one tablet with breakfast.
The nurse measured my height and weight.
They sent the form to my address by post.
I walk about two kilometres a day.
The doctor's office opens at eight.
I changed my glasses two years ago.
The waiting room has blue chairs and a clock.
My blood type is written on the card.
I drink coffee in the morning and water after that.
The physiotherapist showed me three exercises.
"""
_HEALTH_POSITIVE = """
The results are clear and I am so relieved.
I feel strong and healthy, it is fantastic.
The pain is gone and I could sing.
My doctor is delighted with how well I am doing.
I ran five kilometres and felt amazing.
The treatment worked and we are so happy.
I am proud of how far I have come.
I feel full of life again, what a gift.
I enjoy my body again and that is wonderful.
The therapy helps me so much, I am grateful.
The scan was clear and I can go home.
I am feeling better every day and I love it.
"""
_STUDY_NEGATIVE = """
I failed the exam and I feel so stupid.
I am panicking about the finals, I cannot breathe.
The teacher mocked my answer and I was ashamed.
I am falling behind and it is hopeless.
I hate this course, every day is torture.
My thesis is a disaster and I want to give up.
I froze in the test and ruined everything.
They expelled me and my parents are furious.
I feel like an impostor and it makes me sick.
I wasted three years and I bitterly regret it.
I have to repeat the year after all.
My grades are terrible and I am scared to go home.
"""
_STUDY_NEUTRAL = """
The lecture takes place in room twelve.
I have four classes on Wednesday this term.
The exam consists of thirty questions.
I borrowed two books from the library.
We hand in the essay at the end of the month.
The course covers the history of the region.
I sit in the third row near the window.
My notes are in the green folder.
The semester begins in the middle of October.
We work in groups of three in the lab.
The teacher wrote the page numbers on the board.
I copied the timetable into my calendar.
"""
_STUDY_POSITIVE = """
I passed the exam and I am overjoyed.
I got the best grade and I am so proud.
The teacher loved my essay, it felt wonderful.
I really enjoy studying again, it is exciting.
I was accepted at my dream university, I am thrilled.
My thesis won a prize and I am delighted.
Learning to paint makes me so happy.
I finally understood it and it felt amazing.
My classmates are lovely and we have great fun.
The course is fantastic, I look forward to every lesson.
I came first in the whole year.
I feel confident and hopeful about my studies.
"""
_MONEY_NEGATIVE = """
I am drowning in debt and I am desperate.
We cannot pay the rent and I am so ashamed.
I lost all my savings, it is a nightmare.
The bills frighten me and I cannot open them.
He stole my money and I am furious.
We might lose the house and I feel sick.
I feel humiliated because I had to beg for money.
Being poor is exhausting and I hate it.
The bank refused us and I burst into tears.
I gambled it all away and I despise myself.
They cut off the electricity on Friday.
It is terrible that I cannot feed my kids properly.
"""
_MONEY_NEUTRAL = """
I pay the rent on the first of the month.
The receipt is in the envelope on the table.
I opened an account at the bank on the square.
The ticket costs four euros and twenty cents.
We compare the prices of two suppliers.
The electricity bill arrives every two months.
I keep the coins in a jar in the kitchen.
My salary goes into the same account as before.
I filled in the tax form last week.
The insurance was renewed in January.
We buy groceries on Saturday morning.
I pay by card in most shops.
"""
_MONEY_POSITIVE = """
I paid off all my debts and I feel so free.
We won a prize and jumped for joy.
I got a raise and I am thrilled.
I am so relieved that the money worries are over.
We can afford the trip now, I am so excited.
My savings are growing and it makes me happy.
A kind stranger helped us out, it was wonderful.
I am grateful that we have enough now.
The shop is doing brilliantly and I am proud.
I bought my mother a gift and she loved it.
The last instalment is paid and the house is ours.
It feels great to be generous to my friends.
"""
_HOME_NEGATIVE = """
The flat is a filthy mess and I feel disgusted.
I hate coming home to that empty, dark house.
The neighbours shout all night and I am going mad.
We were robbed and I do not feel safe any more.
Our house burned down and we lost everything.
The damp and the mould make me miserable.
I feel trapped in that horrible little room.
They are evicting us and I am terrified.
I cried all evening, alone in the kitchen.
The landlord threatened me and I am afraid.
The ceiling came down on the children's beds.
The house feels so sad since he died.
"""
_HOME_NEUTRAL = """
The kitchen is at the end of the corridor.
We painted the hallway in a light grey.
The washing machine runs for fifty minutes.
I put the keys in the bowl by the door.
Our house has two floors and a cellar.
The bins are emptied every second Thursday.
I water the plants once a week.
There is a supermarket on the ground floor.
The heating is set to twenty degrees.
We moved the table closer to the window.
The post usually arrives around eleven.
I keep the tools in a box under the stairs.
"""
_HOME_POSITIVE = """
We found our dream house and I am so happy.
I love my sunny little kitchen.
The new flat is beautiful, I feel at home at last.
The garden is in bloom and it is a delight.
I feel safe and cosy in my own home.
Our neighbours welcomed us with cake, they are lovely.
Decorating the nursery was such a joy.
I am proud of the table I built myself.
It is wonderful to come home to a warm house.
The balcony in the evening is pure happiness.
At last I have a key to my own front door.
Our home is full of laughter again.
"""
_LEISURE_NEGATIVE = """
I used to love music and now I feel nothing.
I broke my guitar in anger and I regret it.
The team threw me out and I was crushed.
I have no hobbies any more, everything is pointless.
The concert was awful and I left in tears.
I embarrassed myself at the dance, it was horrible.
My dog died and I cannot stop crying.
I am too sad to paint and it frightens me.
We lost badly and everyone blamed me.
I was so bored and lonely all summer.
I have not touched the piano since the accident.
Even my garden makes me unhappy these days.
"""
_LEISURE_NEUTRAL = """
I go to the swimming pool on Mondays.
The choir rehearses in the church hall.
I watched the news and a documentary.
My bicycle has seven gears and a basket.
The film lasts an hour and fifty minutes.
We listen to the radio in the car.
I bought strings for the guitar last week.
The museum is closed on Tuesdays.
The dog needs to go out twice a day.
I planted tomatoes next to the fence.
The match was moved to Saturday afternoon.
There are thirty pieces in the sewing kit.
"""
_LEISURE_POSITIVE = """
I am playing music again and I love it.
We won the match and it was fantastic.
The concert was amazing, I was so happy.
My puppy makes me laugh every day.
Dancing makes me feel free and alive.
I painted all day and enjoyed every minute.
The choir sang for me and I was so touched and glad.
I scored a goal and everybody cheered.
Gardening gives me so much joy.
The film was hilarious, we had a great time.
The dog came back after three days, wagging his tail.
I am so pleased with the sweater I knitted.
"""
_TRAVEL_NEGATIVE = """
The accident was horrible and I still shake.
I was stranded at night and scared to death.
I missed the last train and cried on the platform.
Our holiday was a disaster and we fought all week.
I am too anxious to get on a bus any more.
They stole my bag and ruined the whole trip.
The drive to the hospital was a nightmare.
I feel so homesick that it hurts.
Somebody harassed me on the tram, it was disgusting.
I hate flying, I was sick with fear.
I sat on my suitcase and nobody picked me up.
He left me at the airport and I was devastated.
"""
_TRAVEL_NEUTRAL = """
The train leaves from platform four.
I take the bus from the town hall to the station.
The trip takes about two hours by car.
We stopped once to fill up the tank.
My suitcase is the grey one on the left.
The hotel is located behind the market.
I renewed my passport at the office.
The road is closed between the two villages.
We crossed the bridge and turned right.
The flight has a stop in the capital.
I put the tickets in the front pocket.
The tram runs every ten minutes on this line.
"""
_TRAVEL_POSITIVE = """
The trip was wonderful and I feel so refreshed.
We saw the sea and I was so happy.
I love riding my bike through the sunny hills.
The holiday was the best of my life.
I am so excited, we are flying to the islands.
The view from the mountain was breathtaking and joyful.
People there were so friendly, I loved it.
I travelled alone for once and I am so proud.
We had a fantastic weekend at the lake.
Coming home to my friends felt great.
We watched the sun come up over the sea together.
I can not wait for our lovely trip in spring.
"""

_WRITTEN: Final = {
    "sleep": (_SLEEP_NEGATIVE, _SLEEP_NEUTRAL, _SLEEP_POSITIVE),
    "work": (_WORK_NEGATIVE, _WORK_NEUTRAL, _WORK_POSITIVE),
    "family": (_FAMILY_NEGATIVE, _FAMILY_NEUTRAL, _FAMILY_POSITIVE),
    "friends": (_FRIENDS_NEGATIVE, _FRIENDS_NEUTRAL, _FRIENDS_POSITIVE),
    "health": (_HEALTH_NEGATIVE, _HEALTH_NEUTRAL, _HEALTH_POSITIVE),
    "study": (_STUDY_NEGATIVE, _STUDY_NEUTRAL, _STUDY_POSITIVE),
    "money": (_MONEY_NEGATIVE, _MONEY_NEUTRAL, _MONEY_POSITIVE),
    "home": (_HOME_NEGATIVE, _HOME_NEUTRAL, _HOME_POSITIVE),
    "leisure": (_LEISURE_NEGATIVE, _LEISURE_NEUTRAL, _LEISURE_POSITIVE),
    "travel": (_TRAVEL_NEGATIVE, _TRAVEL_NEUTRAL, _TRAVEL_POSITIVE),
}

SENTENCES: Final[tuple[Sentence, ...]] = tuple(
    Sentence(line, topic, polarity)
    for topic, blocks in _WRITTEN.items()
    for polarity, block in zip(POLARITIES, blocks, strict=True)
    for line in block.strip().splitlines()
)
"""Twelve sentences for each topic and polarity."""
