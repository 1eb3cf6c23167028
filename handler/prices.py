"""AWS Lambda's list prices in us-east-1 and what they buy, for receipts and comparisons.

Does not know what is billed.

Source: https://aws.amazon.com/lambda/pricing/
"""

GB_SECOND_USD = 0.0000166667
REQUEST_USD = 0.0000002

MIB_PER_VCPU = 1769
"""Memory that brings a whole vCPU; smaller functions are shown two cores as well. Source:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
