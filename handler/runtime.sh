#!/bin/sh
# Lambda starts this in place of the runtime (AWS_LAMBDA_EXEC_WRAPPER) with the command it would have started:
# the interpreter and its arguments. Same interpreter, same arguments, by way of handler/runtime.py.
# Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper
cd "${LAMBDA_TASK_ROOT:?}" || exit 1
interpreter=$1
shift
# The runtime polls in a thread of its own for every event. Each would begin another of glibc's arenas, and large
# events and answers, spread over them, keep a fifth more memory than they need.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-1}"
exec "$interpreter" -m handler.runtime "$@"
