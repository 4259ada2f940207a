//! `contree build`: Dockerfiles on the embedded engine.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::{Shell, stderr};

/// A home with a directory that is built.
struct Project(Shell);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let project = Self(Shell::new());
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.0.path().join("project").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Builds with a Dockerfile, and returns the record of the build.
    fn build(&self, dockerfile: &str, options: &[&str]) -> Value {
        self.write("Dockerfile", dockerfile);
        let mut words = vec!["--json", "build", "-t", "built"];
        words.extend(options);
        words.push("project");
        serde_json::from_str(&self.0.ok(&words)).unwrap()
    }

    /// Builds with a Dockerfile, which must fail, and returns the message.
    fn fails(&self, dockerfile: &str) -> String {
        self.write("Dockerfile", dockerfile);
        self.0.fails(1, &["build", "-t", "built", "project"])
    }

    /// The output of a shell command on the built image.
    fn shows(&self, command: &str) -> String {
        self.0.ok(&["run", "built", "-D", "-s", "--", command])
    }

    /// Number of operations of the engine.
    fn operations(&self) -> usize {
        self.0.ok(&["--json", "ps", "-a"]).lines().count()
    }
}

/// Whether each step was found again.
fn cached(record: &Value) -> Vec<bool> {
    let steps = record["steps"].as_array().unwrap().iter();
    steps
        .map(|step| step["cached"].as_bool().unwrap())
        .collect()
}

#[test]
fn unchanged_steps_run_nothing_and_a_changed_file_runs_what_follows() {
    let project = Project::new(&[("a.txt", "one\n"), ("b.txt", "b\n")]);
    let dockerfile = "FROM tag:host\nENV A=1\nRUN echo ran > /ran\nCOPY a.txt /a\nRUN cat /a > /seen\nCOPY b.txt /b\n";
    let first = project.build(dockerfile, &[]);
    assert_eq!(cached(&first), [true, false, false, false, false, false]);
    let before = project.operations();
    let second = project.build(dockerfile, &[]);
    assert_eq!(cached(&second), [true; 6]);
    assert_eq!(second["uuid"], first["uuid"]);
    assert_eq!(project.operations(), before);
    project.write("a.txt", "two\n");
    let third = project.build(dockerfile, &[]);
    assert_eq!(cached(&third), [true, true, true, false, false, false]);
    assert_eq!(project.shows("cat /seen /b /ran"), "two\nb\nran\n");
    let path = project.0.0.path().join("project/a.txt");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let fourth = project.build(dockerfile, &[]);
    assert_eq!(cached(&fourth), [true, true, true, false, false, false]);
    assert_eq!(project.shows("stat -c %a /a"), "600\n");
    let again = project.build(dockerfile, &["--no-cache"]);
    assert!(!cached(&again)[1..].contains(&true));
    let shown = project.0.run(&["build", "project"]);
    let shown = stderr(&shown);
    assert!(
        shown.contains("[3/6] RUN echo ran > /ran  cached\n"),
        "{shown}"
    );
}

#[test]
fn a_failing_step_is_named_and_earlier_steps_are_kept() {
    let project = Project::new(&[]);
    let message =
        project.fails("FROM tag:host\nRUN echo kept > /kept\nRUN echo before; \\\n  exit 7\n");
    for part in [
        "project/Dockerfile:3: RUN echo before; \\",
        "exit status 7",
        "    before",
        "the earlier steps are kept",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let image = message.split("`contree run ").nth(1).unwrap();
    let image = image.split(' ').next().unwrap();
    assert_eq!(
        project.0.ok(&["run", image, "-D", "--", "cat", "/kept"]),
        "kept\n"
    );
    let repaired = project.build("FROM tag:host\nRUN echo kept > /kept\nRUN true\n", &[]);
    assert_eq!(cached(&repaired), [true, true, false]);
    for (dockerfile, part) in [
        ("FROM tag:host\nRUN kill -9 $$\n", "signal 9"),
        ("FROM tag:host\nRUN [\"/no/such\"]\n", "could not run"),
        ("FROM tag:host\nCOPY none /x\n", "`none` matches no file"),
        (
            "FROM tag:host\nUSER nobody-here\nRUN id\n",
            "no user `nobody-here`",
        ),
        ("FROM tag:host\nNOPE\n", "Dockerfile: line 2:"),
        (
            "FROM tag:host\nADD https://example.com/x /x\n",
            "download it in a RUN",
        ),
    ] {
        let message = project.fails(dockerfile);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn stages_reach_each_other_and_an_image_without_files() {
    let project = Project::new(&[("config", "c\n")]);
    let dockerfile = "\
ARG BASE=tag:none
FROM ${BASE} AS build
WORKDIR /out
RUN mkdir -p deep bin && echo x > deep/x && echo y > bin/y.txt && echo z > bin/z.log \\
  && ln -s y.txt bin/link && chmod 750 deep
FROM build AS unused
RUN false
FROM scratch
ENV NAME=value
COPY --from=build /out/deep /data/
COPY --from=build /out/bin/*.txt /out/bin/link /bin/
COPY --chmod=600 config /etc/config
WORKDIR /data
";
    let record = project.build(dockerfile, &["--build-arg", "BASE=tag:host"]);
    assert_eq!(record["steps"].as_array().unwrap().len(), 3 + 6);
    let list = |path: &str| {
        let listed = project.0.ok(&["ls", &format!("built:{path}")]);
        listed
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(project.0.ok(&["cat", "built:/data/x"]), "x\n");
    assert_eq!(project.0.ok(&["cat", "built:/bin/y.txt"]), "y\n");
    // A link that is a source is followed.
    assert_eq!(project.0.ok(&["cat", "built:/bin/link"]), "y\n");
    assert_eq!(project.0.ok(&["cat", "built:/etc/config"]), "c\n");
    let root = list("/").join(" ");
    assert!(
        !root.contains("contree") && !root.contains("z.log"),
        "{root}"
    );
    let again = project.build(dockerfile, &["--build-arg", "BASE=tag:host"]);
    assert!(!cached(&again).contains(&false));
    let target = project.build(
        dockerfile,
        &["--build-arg", "BASE=tag:host", "--target", "build"],
    );
    assert_eq!(project.shows("pwd; ls"), "/out\nbin\ndeep\n");
    assert_eq!(cached(&target), [true, true, true]);
}

#[test]
fn globs_rules_and_destinations_are_those_of_docker() {
    let project = Project::new(&[
        (".dockerignore", "*.log\nsecret\nout\n!out/keep\n"),
        ("a.txt", "a\n"),
        ("b.txt", "b\n"),
        ("c.log", "c\n"),
        ("secret/key", "k\n"),
        ("out/keep", "keep\n"),
        ("out/drop", "drop\n"),
        ("src/deep/x", "x\n"),
    ]);
    let link = project.0.0.path().join("project/src/link");
    std::os::unix::fs::symlink("deep/x", link).unwrap();
    let empty = project.0.0.path().join("project/src/empty");
    std::fs::create_dir(empty).unwrap();
    project.build(
        "FROM tag:host\nRUN mkdir -m 711 /existing\nWORKDIR /w\nCOPY *.txt texts/\nCOPY src dest\nCOPY a.txt /existing\nCOPY src /existing\nCOPY . all\nCOPY --chown=7:8 --chmod=0640 b.txt owned\nCOPY [\"a.txt\", \"with space\"]\n",
        &[],
    );
    assert_eq!(
        project.shows("cd /w; ls texts; cat dest/link; ls dest; cat 'with space'"),
        "a.txt\nb.txt\nx\ndeep\nempty\nlink\na\n"
    );
    assert_eq!(
        project.shows("stat -c %a /existing; cat /existing/a.txt /existing/deep/x"),
        "711\na\nx\n"
    );
    assert_eq!(project.shows("stat -c '%a %u %g' /w/owned"), "640 7 8\n");
    let all = project.shows("cd /w/all; find . -type f | sort");
    assert_eq!(
        all,
        "./.dockerignore\n./Dockerfile\n./a.txt\n./b.txt\n./out/keep\n./src/deep/x\n"
    );
}

#[test]
fn here_documents_users_directories_and_shells_work() {
    let project = Project::new(&[]);
    project.build(
        "\
FROM tag:host
ARG WHO=you
ENV GREETING=hello PATH=/opt/bin:$PATH
WORKDIR /srv
WORKDIR app
RUN <<EOF
echo one > file
echo \"$GREETING $WHO\" >> file
EOF
RUN cat <<EOF > inner && cat <<'B' >> inner
$GREETING
EOF
$quoted
B
RUN <<EOF
#!/usr/bin/env -S sh -eu
echo script > script
EOF
COPY <<conf <<\"raw\" /etc/made/
who=$WHO
conf
who=$WHO
raw
COPY --chmod=755 <<tool /opt/bin/tool
#!/bin/sh
echo tool
tool
RUN tool > tool-ran
RUN [\"sh\", \"-c\", \"echo exec $0 > exec\", \"form\"]
SHELL [\"/bin/sh\", \"-ec\"]
RUN false | true; echo shell > shell
RUN echo 'app:x:1234:4321::/home/app:/bin/sh' >> /etc/passwd && chmod 777 .
USER app
WORKDIR /home/app
RUN id -u > id && id -g >> id && echo $HOME >> id && pwd >> id
CMD [\"tool\"]
EXPOSE 80
",
        &["--build-arg", "WHO=world"],
    );
    assert_eq!(
        project.shows("cd /srv/app; cat file inner script tool-ran exec shell"),
        "one\nhello world\nhello\n$quoted\nscript\ntool\nexec form\nshell\n"
    );
    assert_eq!(
        project.shows("cat /etc/made/conf /etc/made/raw"),
        "who=world\nwho=$WHO\n"
    );
    assert_eq!(
        project.shows("cat /home/app/id; stat -c %u /home/app /home/app/id"),
        "1234\n4321\n/home/app\n/home/app\n1234\n1234\n"
    );
    assert_eq!(
        project.shows("echo $GREETING; echo $WHO; pwd; tool"),
        "hello\n\n/home/app\ntool\n"
    );
    let shown = project.0.run(&["build", "project"]);
    assert!(
        stderr(&shown).contains("no effect here: CMD, EXPOSE;"),
        "{}",
        stderr(&shown)
    );
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let project = Project::new(&[("plain", "p\n")]);
    let path = project.0.0.path().join("project/a.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_size(2);
    archive
        .append_data(&mut header, "d/file", &b"x\n"[..])
        .unwrap();
    archive.into_inner().unwrap();
    project.build("FROM tag:host\nADD a.tar plain /x/\nCOPY a.tar /y/\n", &[]);
    assert_eq!(
        project.shows("cat /x/d/file /x/plain; stat -c '%a %u %g' /x/d/file; ls /y"),
        "x\np\n4755 7 8\na.tar\n"
    );
    project.build("FROM scratch\nADD a.tar /\n", &[]);
    assert_eq!(project.0.ok(&["cat", "built:/d/file"]), "x\n");
}
