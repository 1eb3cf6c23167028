"""OpenAI's JSON, and only that: requests in, answers and stream events out, as pydantic models.

Knows names, types, ranges and which fields are refused. Does not know HTTP, AWS, the model or the session
store.
"""
