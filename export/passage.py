"""The texts a model is judged on when the user gives none, by kind: prose, dialogue and code, two languages.

A dialogue's lines begin with `User: ` or `Assistant: `; where the model has a chat template, it is read
through that. No line is in a calibration text.
"""

PASSAGE = """\
The dormouse sleeps through the cold months in a nest of bark and moss. When a warm wind comes it wakes, \
stretches, and remembers at once where it hid the hazelnuts in October.
"Hello, how are you?" asked the traveller. "Quite well, thank you," said the innkeeper, "and what may I call \
you?" "My name is Elena, and I need a room for 3 nights." "That will be 42.50 a night, breakfast included."
今天早上下了一场小雨，空气很清新。小李问：“你叫什么名字？”我说：“我叫睡鼠，很高兴认识你。”
def area(width, height):
    return width * height  # square metres
Water boils at 100 degrees at sea level; on a mountain 3,000 metres high it boils at about 90.
"""

PASSAGES = {
    "English prose": """\
The harbour was still dark when the first boats came in. Men in yellow coats threw ropes to one another \
without a word, as they had done every morning for thirty years, and the gulls settled on the roof of \
the fish hall to wait. By six the ice had been shovelled into the crates and the auction could begin. \
Nobody looked at the sea any more; what mattered now was the price of cod, the road over the pass, and \
whether the lorries would get through before the snow. An old woman sold coffee from a van with one \
broken headlamp. She knew who took sugar.
""",
    "Chinese prose": """\
天还没亮，码头上已经有人在说话。第一条船靠岸的时候，风很冷，水面上有一层薄薄的雾。老张把绳子扔给弟弟\
，两个人谁也没有出声，这样的早晨他们已经过了三十年。六点钟，鱼都装进了木箱，市场里开始热闹起来。有人\
问价，有人记账，也有人只是站在炉子旁边喝茶。大家都在谈论山上的雪：如果今天下午路还没有通，明天的货就\
只能走水路了。卖包子的女人笑着说，走水路也好，至少不会堵车。
""",
    "code": """\
from collections import Counter
def most_common_words(path, count=10, shortest=4):
    words = Counter()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words.update(w.lower() for w in line.split() if len(w) >= shortest)
    return words.most_common(count)
if __name__ == "__main__":
    for word, times in most_common_words("notes.txt"):
        print(f"{times:6d}  {word}")
SELECT city, COUNT(*) AS orders, SUM(total) FROM orders WHERE placed >= '2026-01-01' GROUP BY city \
LIMIT 5;
""",
    "English dialogue": """\
User: Hi, I am Marta and I have just moved to Porto.
Assistant: Hello Marta! Welcome to Porto. How do you like the city so far?
User: I like it, but I do not know where to buy good bread near the cathedral.
Assistant: Try the small bakery behind the market hall. It opens at seven, and the corn bread is gone \
by ten.
User: Thank you. Do you remember what my name is?
Assistant: Of course, your name is Marta, and you have just moved to Porto.
""",
    "Chinese dialogue": """\
User: 你好，我叫赵敏，上个星期刚搬到厦门。
Assistant: 你好，赵敏！欢迎来到厦门，你住得还习惯吗？
User: 还可以，就是不知道哪里的早饭好吃。
Assistant: 可以去老街看看，那里的沙茶面和花生汤都很有名，早上七点就开门。
User: 谢谢。你还记得我叫什么名字吗？
Assistant: 当然记得，你叫赵敏，上个星期刚搬到厦门。
""",
    "facts and numbers": """\
The bridge is 1,280 metres long, 27.4 metres wide and was opened on 3 May 1937. It cost 35 million; at \
4 % a year that would be about 1.1 billion today. Light takes 8 minutes and 19 seconds from the Sun to \
the Earth, and 1.28 seconds from the Moon. Iron melts at 1,538 degrees, copper at 1,085, lead at 327. \
17 + 26 = 43, 9 x 8 = 72.
""",
}
