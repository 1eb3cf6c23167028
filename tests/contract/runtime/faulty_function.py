"""The handler as Lambda runs it, with the bugs that a request's header `x-fault` asks for."""

from handler.function import lambda_handler


def handler(event, context):
    fault = (event.get("headers") or {}).get("x-fault")
    if fault == "raise":
        raise RuntimeError("raised before the handler")
    if fault == "large":
        return {"statusCode": 200, "body": "x" * (7 << 20)}
    answer = lambda_handler(event, context)
    return broken(answer) if fault == "break" else answer


def broken(answer):
    """The first chunks of a stream, then an error."""
    for number, chunk in enumerate(answer):
        if number == 3:
            raise RuntimeError("the answer broke")
        yield chunk
