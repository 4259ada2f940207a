//! Tests of searching images.

use serde_json::{Value, json};

use crate::support::{Answer, TestEngine};

async fn image(local: &TestEngine) -> String {
    let script = r"set -e; mkdir -p /g/src/.git /g/node_modules/m /g/bin; cd /g
        printf 'one\ntwo Foo\nthree foo foo\nfour\nfive\nsix foo\n' >src/a.txt
        printf 'foo\r\nbar\n' >src/b.rs; printf '*.txt\nfoo ignored\n' >src/.gitignore; echo foo >src/.git/config
        echo 'foo in a module' >node_modules/m/x.js; printf 'foo\0bar\n' >bin/data; (printf 'foo first\n'; head -c 300000 /dev/zero | tr '\0' 'y'; printf '\0') >bin/late
        ln -s ../src/a.txt src/link.txt; ln -s /g /g/round; mkfifo src/pipe; ln -s src s
        (head -c 5000 /dev/zero | tr '\0' 'e'; printf 'foo\n') >src/wide; printf 'no newline foo' >src/last
        printf 'caf\351 foo\n' >src/latin; chmod 0 src/b.rs; chown 33 src/b.rs 2>/dev/null || true";
    let done = local.run(script, json!({"disposable": false})).await;
    assert_eq!(done.exit_code, 0, "{done:?}");
    done.result.unwrap()
}

async fn search(local: &TestEngine, image: &str, query: &str) -> Value {
    let answer = local.get(&format!("/inspect/{image}/grep?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

/// `path:line` of each match, `path-line` of each line of context.
fn matched_lines(result: &Value) -> Vec<String> {
    let matched_lines = result["matches"].as_array().unwrap().iter().map(|line| {
        let sign = if line["type"] == "match" { ':' } else { '-' };
        format!(
            "{}{sign}{}",
            line["path"].as_str().unwrap(),
            line["line_number"]
        )
    });
    matched_lines.collect()
}

#[tokio::test]
async fn regular_text_files_are_searched_and_others_are_skipped() {
    let local = TestEngine::shared().await;
    let image = image(&local).await;
    let result = search(&local, &image, "pattern=foo&path=/g").await;
    assert_eq!(
        (&result["path"], &result["patterns"]),
        (&json!("/g"), &json!(["foo"]))
    );
    assert_eq!(result["truncated"], false);
    assert_eq!(
        matched_lines(&result),
        [
            "/g/node_modules/m/x.js:1",
            "/g/src/.gitignore:2",
            "/g/src/a.txt:3",
            "/g/src/a.txt:6",
            "/g/src/b.rs:1",
            "/g/src/last:1",
            "/g/src/latin:1",
            "/g/src/wide:1",
            "/g/src/.git/config:1",
        ],
        "neither binary files, links nor FIFOs"
    );
    let line = |at: &str| {
        let lines = result["matches"].as_array().unwrap();
        let at = matched_lines(&result)
            .iter()
            .position(|place| place == at)
            .unwrap();
        lines[at].clone()
    };
    assert_eq!(
        line("/g/src/a.txt:3"),
        json!({"path": "/g/src/a.txt", "line_number": 3, "absolute_offset": 12, "line_text": "three foo foo\n", "line_bytes": 14,
            "submatches": [{"text": "foo", "start": 6, "end": 9}, {"text": "foo", "start": 10, "end": 13}], "type": "match"})
    );
    assert_eq!(line("/g/src/last:1")["line_text"], "no newline foo");
    assert_eq!(line("/g/src/b.rs:1")["line_text"], "foo\r\n");
    assert_eq!(line("/g/src/latin:1")["line_text"], "caf\u{fffd} foo\n");
    let wide = line("/g/src/wide:1");
    assert_eq!(wide["line_text"], "e".repeat(4096));
    assert_eq!(wide["line_bytes"], 5004);
    assert_eq!(
        wide["submatches"],
        json!([{"text": "foo", "start": 5000, "end": 5003}])
    );
}

#[tokio::test]
async fn parameters_restrict_the_search() {
    let local = TestEngine::shared().await;
    let image = image(&local).await;
    for (query, expected) in [
        (
            "pattern=foo&path=/g/src/a.txt&case=insensitive",
            &["/g/src/a.txt:2", "/g/src/a.txt:3", "/g/src/a.txt:6"][..],
        ),
        (
            "pattern=Foo&path=/g/src/a.txt&case=smart",
            &["/g/src/a.txt:2"],
        ),
        (
            "pattern=one&pattern=%5Efive%24&path=/g",
            &["/g/src/a.txt:1", "/g/src/a.txt:5"],
        ),
        (
            "pattern=foo&path=/g&glob=*.rs&glob=*.js",
            &["/g/node_modules/m/x.js:1", "/g/src/b.rs:1"],
        ),
        (
            "pattern=foo&path=/g&glob=!node_modules&glob=!*.txt&glob=!.git*&glob=!l*&glob=!wide",
            &["/g/src/b.rs:1"],
        ),
        (
            "pattern=foo&path=/g&glob=/g/src/*.txt",
            &["/g/src/a.txt:3", "/g/src/a.txt:6"],
        ),
        (
            "pattern=foo&path=/g/src/a.txt&max_count=1",
            &["/g/src/a.txt:3"],
        ),
        (
            "pattern=foo&path=/g/node_modules&path=/g/src/b.rs",
            &["/g/node_modules/m/x.js:1", "/g/src/b.rs:1"],
        ),
        ("pattern=foo&path=g/s&glob=*.rs", &["/g/s/b.rs:1"]),
        // A line may end with CR and LF.
        ("pattern=foo%24&path=/g/src/b.rs", &["/g/src/b.rs:1"]),
        (
            "pattern=foo&path=/g/src/a.txt&before=1&after=1&max_count=1",
            &["/g/src/a.txt-2", "/g/src/a.txt:3", "/g/src/a.txt-4"],
        ),
        ("pattern=foo&path=/g/src/pipe", &[]),
        ("pattern=nothing-like-it&path=/g", &[]),
    ] {
        let result = search(&local, &image, query).await;
        assert_eq!(matched_lines(&result), expected, "{query}");
        assert_eq!(result["truncated"], false, "{query}");
    }
    let result = search(
        &local,
        &image,
        "pattern=foo&path=/g/src/a.txt&before=9&after=1&max_total=1",
    )
    .await;
    assert_eq!(
        matched_lines(&result),
        [
            "/g/src/a.txt-1",
            "/g/src/a.txt-2",
            "/g/src/a.txt:3",
            "/g/src/a.txt-4"
        ],
        "the context of an omitted match is omitted too"
    );
    assert_eq!(result["truncated"], true);
    let result = search(&local, &image, "pattern=foo&path=/g/src/a.txt&max_total=2").await;
    assert_eq!(result["truncated"], false, "there were no more than two");
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let local = TestEngine::shared().await;
    let image = local.host().await;
    let refused = |answer: Answer, status: u16, word: &str| {
        assert_eq!(
            (answer.status, answer.json["status"].as_u64()),
            (status, Some(status.into())),
            "{answer:?}"
        );
        assert!(
            answer.json["error"].as_str().unwrap().contains(word),
            "{answer:?}"
        );
    };
    for (query, status, word) in [
        ("", 400, "pattern"),
        ("pattern=(", 400, "pattern"),
        ("pattern=a%0Ab", 400, "pattern"),
        ("pattern=%5Cw%7B1000%7D%7B1000%7D", 400, "pattern"),
        ("pattern=x&glob=%5B", 400, "glob"),
        ("pattern=x&max_total=10001", 400, "max_total"),
        ("pattern=x&case=Upper", 400, "case"),
        ("pattern=x&path=/none", 404, "/none"),
        ("pattern=x&path=/etc&path=/none", 404, "/none"),
        ("pattern=x&path=/etc/passwd/x", 404, "/etc/passwd/x"),
    ] {
        refused(
            local.get(&format!("/inspect/{image}/grep?{query}")).await,
            status,
            word,
        );
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    refused(
        local
            .get(&format!("/inspect/{unknown}/grep?pattern=x"))
            .await,
        404,
        unknown,
    );
    refused(
        local
            .get(&format!("/inspect/{unknown}/grep?pattern=("))
            .await,
        400,
        "pattern",
    );
}

#[tokio::test]
async fn a_search_stops_at_the_limits_of_files_and_lines() {
    let local = TestEngine::shared().await;
    let script = "mkdir -p /p; truncate -s 8T /p/hole; head -c 17000000 /dev/zero | tr '\\0' x >/p/line; echo needle >>/p/line; echo needle >/p/z; \
                  yes xneedle | head -n 20000 >/p/many";
    let image = local
        .run(script, json!({"disposable": false}))
        .await
        .result
        .unwrap();
    // A line that is too long ends the search of its file and is reported. Other files are
    // searched.
    let result = search(&local, &image, "pattern=%5Eneedle&path=/p").await;
    assert_eq!(
        (matched_lines(&result), &result["truncated"]),
        (vec!["/p/z:1".to_owned()], &json!(true))
    );
    let result = search(
        &local,
        &image,
        "pattern=needle&path=/p/many&max_total=10000",
    )
    .await;
    assert_eq!(
        (matched_lines(&result).len(), &result["truncated"]),
        (10_000, &json!(true))
    );
    let result = search(&local, &image, "pattern=needle&path=/p/many").await;
    assert_eq!(
        (matched_lines(&result).len(), &result["truncated"]),
        (1000, &json!(true))
    );
}
