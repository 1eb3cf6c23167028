"""The text a model is judged on when the user gives none: prose, dialogue, code, numbers; two languages."""

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
