"""Writes small numbers in words, in both languages.

Knows nothing of sums.
"""

from export.house.names import words


def numeral(number: int, language: str) -> str:
    """Return a number from 0 to 20 in words.

    Raises: IndexError above 20.
    """
    if language == "en":
        return words()["en"]["numerals"].split()[number]
    digits = words()["zh"]["numerals"]
    tens, ones = divmod(number, 10)
    if not tens:
        return digits[ones]
    return ("" if tens == 1 else digits[tens]) + "十" + (digits[ones] if ones else "")
