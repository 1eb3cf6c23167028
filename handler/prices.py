"""AWS Lambda's list prices in us-east-1, for receipts and comparisons. Does not know what is billed.

Source: https://aws.amazon.com/lambda/pricing/
"""

GB_SECOND_USD = 0.0000166667
REQUEST_USD = 0.0000002
