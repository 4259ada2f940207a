#!/usr/bin/env bash
# Tries the engine with requests that schemathesis makes from the API document, valid and invalid ones, within a bounded time and always the same:
#
#   engine.sh PROGRAM bash fuzz.sh SCHEMATHESIS SECONDS
#
# Checked of every answer: no undeclared status, no 5xx, the declared content type, headers and schema, and that an answer comes at all within
# the time-out. Left out, with the reason:
#   negative_data_rejection   the document lets servers ignore what they do not know (query parameters, fields), and takes numbers as text in queries
#   positive_data_acceptance  a valid id that names nothing, a tag that is not there, a file that was not uploaded: 400 and 404 are right
#   unsupported_method, allow_header_conformance   the document says nothing of methods that it does not list
#   ignored_auth              tried for each operation by the test `every_operation` of the engine
#   use_after_free, ensure_resource_availability   guess from names what a DELETE means: that of an operation cancels it and keeps its record
# `importImage` is left out because a random URL names a machine beyond this one.
# The first round makes up all ids; the second has those of an image and of an operation that is over, and so gets further in.
set -euo pipefail
schemathesis=$1 seconds=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
document=$(cd "$(dirname "$0")/../.." && pwd)/openapi/contree.yaml
cd "$work"
# Two statements of the document are put in the words of the fuzzer: what an operation was asked to do is told apart by `kind` beside it, which
# `oneOf` alone cannot see; and events are a stream of text, which the fuzzer hands to the schema as one object each.
"$(dirname "$schemathesis")/python" - "$document" >api.json <<'END'
import json, sys, yaml

document = yaml.safe_load(open(sys.argv[1]))
metadata = document["components"]["schemas"]["OperationMetadata"]
metadata["anyOf"] = metadata.pop("oneOf")
events = document["paths"]["/operations/{operationId}/events"]["get"]["responses"]["200"]
events["content"]["text/event-stream"]["schema"] = {}
json.dump(document, sys.stdout)
END
"$(dirname "$schemathesis")/python" - >real.toml <<'END'
import json, os, time, urllib.request

def ask(path, body=None):
    request = urllib.request.Request(os.environ["CONTREE_URL"] + "/v1" + path, body and json.dumps(body).encode())
    request.add_header("Authorization", "Bearer " + os.environ["CONTREE_TOKEN"])
    return json.load(urllib.request.urlopen(request))

spawn = {"command": "mkdir /d; echo x >/d/f; mkfifo /d/p; echo out", "shell": True, "image": "tag:host"}
operation = ask("/instances", spawn)["uuid"]
while (status := ask("/operations/" + operation))["status"] != "SUCCESS":
    time.sleep(0.1)
print("[parameters]")
for name, value in (("image_uuid", status["result_image_uuid"]), ("imageUUID", status["result_image_uuid"]), ("operationId", operation), ("spid", 1)):
    print(f'"path.{name}" = {json.dumps(value)}')
END
touch made-up.toml
for round in made-up real; do
    "$schemathesis" --config-file "$round.toml" run api.json --url "$CONTREE_URL/v1" -H "Authorization: Bearer $CONTREE_TOKEN" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
        --phases coverage,fuzzing --exclude-operation-id importImage --max-time "$((seconds / 2))" --seed 20260701 --generation-deterministic \
        --request-timeout 60 --max-redirects 0 --continue-on-failure --max-failures 40 --suppress-health-check all --no-color "${@:3}"
done
