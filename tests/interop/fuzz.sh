#!/usr/bin/env bash
# Sends the engine valid and invalid requests that schemathesis makes from the API document. The
# time is limited, and the requests are the same in every run:
#
#   engine.sh PROGRAM bash fuzz.sh SCHEMATHESIS SECONDS
#
# Every answer must arrive within the time-out. It must have a declared status other than 5xx, and
# the declared content type, headers and schema. These checks are left out, for the reasons given:
#   negative_data_rejection
#       The document lets servers ignore unknown query parameters and fields, and accepts numbers as
#       text in queries.
#   positive_data_acceptance
#       400 and 404 are right for a valid id that names nothing, a missing tag, or a missing upload.
#   unsupported_method, allow_header_conformance
#       The document does not describe methods that it does not list.
#   ignored_auth
#       The engine's test `every_operation` tries this for each operation.
#   use_after_free, ensure_resource_availability
#       They guess the meaning of a DELETE from names. The DELETE of an operation cancels it and
#       keeps its record.
# `importImage` is left out, because a random URL names another machine. The first round invents all
# ids. The second round has the ids of an image and of a finished operation, so it reaches more
# code.
set -euo pipefail
schemathesis=$1 seconds=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
document=$(cd "$(dirname "$0")/../.." && pwd)/openapi/contree.yaml
cd "$work"
# Two statements of the document are rewritten for the fuzzer. First, the field `kind` tells which
# request an operation has; `oneOf` alone does not see that field. Second, events are a stream of
# text, but the fuzzer passes each to the schema as one object.
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
