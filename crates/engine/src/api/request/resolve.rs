//! Completes a request with the image's saved settings, and determines the settings that the result
//! image saves.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::SpawnRequest;
use crate::image::DEFAULT_PATH;
use crate::rows::images::Image;

impl SpawnRequest {
    /// The directory in which the command starts: that of the request, else the image's, else `/`.
    pub(crate) fn start_directory(&self, image: &Image) -> String {
        [&self.cwd, &image.cwd]
            .into_iter()
            .find(|path| !path.is_empty())
            .map_or_else(|| "/".to_owned(), Clone::clone)
    }

    /// The command's environment.
    ///
    /// A shell gets the image's variables, and the request's variables override them. A program
    /// gets only the request's variables. Both get `PATH`, unless the request unsets it.
    pub(crate) fn environment(&self, image: &Image) -> BTreeMap<String, String> {
        let mut env = if self.shell {
            image.env.clone()
        } else {
            BTreeMap::new()
        };
        for (name, value) in self.env.iter().flatten() {
            match value {
                Some(value) => env.insert(name.clone(), value.clone()),
                None => env.remove(name),
            };
        }
        if !env.contains_key("PATH") && !self.is_unset("PATH") {
            env.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
        }
        env
    }

    /// The `HOME` of a shell whose environment and image name none for its user. `None` if the
    /// command gets no such variable.
    pub(crate) fn default_home(&self) -> Option<OsString> {
        let home = if self.uid == 0 { "/root" } else { "/" };
        (self.shell && !self.is_unset("HOME")).then(|| home.into())
    }

    /// Whether the request removes the variable.
    fn is_unset(&self, name: &str) -> bool {
        let mut variables = self.env.iter().flatten();
        variables.any(|(variable, value)| variable == name && value.is_none())
    }

    /// The program and its arguments: the command itself, or a shell that runs it.
    pub(crate) fn program(&self, env: &BTreeMap<String, String>) -> (String, Vec<String>) {
        if !self.shell {
            return (self.command.clone(), self.args.clone());
        }
        let shell = env
            .get("SHELL")
            .filter(|shell| !shell.is_empty())
            .map_or("/bin/sh", String::as_str);
        (
            shell.to_owned(),
            vec!["-c".to_owned(), self.command.clone()],
        )
    }

    /// The environment that the result image saves. An empty or null value removes a variable.
    pub(crate) fn saved_env(&self, image: &Image) -> BTreeMap<String, String> {
        let mut env = image.env.clone();
        if self.preserve_env {
            for (name, value) in self.env.iter().flatten() {
                match value.as_deref().filter(|value| !value.is_empty()) {
                    Some(value) => env.insert(name.clone(), value.to_owned()),
                    None => env.remove(name),
                };
            }
        }
        env
    }

    /// The working directory that the result image saves.
    pub(crate) fn saved_cwd(&self, image: &Image) -> String {
        if self.preserve_cwd {
            self.start_directory(image)
        } else {
            image.cwd.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::request;
    use super::*;

    fn image() -> Image {
        Image {
            uuid: Uuid::nil(),
            layer: 1,
            env: BTreeMap::from([
                ("A".to_owned(), "image".to_owned()),
                ("B".to_owned(), "image".to_owned()),
            ]),
            cwd: "/saved".to_owned(),
            operation: None,
            lost: false,
            created_at: chrono::Utc::now(),
        }
    }

    #[test]
    fn a_shell_gets_the_images_environment_and_a_program_does_not() {
        let env = serde_json::json!({"env": {"B": "request", "A": null}});
        let shell = SpawnRequest {
            shell: true,
            ..request(env.clone())
        }
        .environment(&image());
        assert_eq!(shell.get("B").map(String::as_str), Some("request"));
        assert_eq!(shell.get("A"), None);
        assert!(shell.contains_key("PATH"));
        let plain = request(env).environment(&image());
        assert_eq!(plain.keys().collect::<Vec<_>>(), ["B", "PATH"]);
    }

    #[test]
    fn a_shell_gets_a_home_unless_the_request_unsets_it() {
        let shell = |fields| SpawnRequest {
            shell: true,
            ..request(fields)
        };
        let home = |request: SpawnRequest| request.default_home();
        assert_eq!(home(shell(serde_json::json!({}))), Some("/root".into()));
        assert_eq!(home(shell(serde_json::json!({"uid": 7}))), Some("/".into()));
        assert_eq!(
            home(shell(serde_json::json!({"env": {"HOME": null}}))),
            None
        );
        assert_eq!(home(request(serde_json::json!({}))), None);
    }

    #[test]
    fn the_saved_environment_changes_only_with_preserve_env() {
        let change = request(serde_json::json!({"env": {"A": "", "C": "new"}}));
        assert_eq!(change.saved_env(&image()), image().env);
        let saved = SpawnRequest {
            preserve_env: true,
            ..change
        }
        .saved_env(&image());
        assert_eq!(saved.get("A"), None);
        assert_eq!(saved.get("C").map(String::as_str), Some("new"));
    }

    #[test]
    fn the_start_directory_falls_back_to_the_saved_one() {
        assert_eq!(
            request(serde_json::json!({"cwd": "/x"})).start_directory(&image()),
            "/x"
        );
        assert_eq!(
            request(serde_json::json!({})).start_directory(&image()),
            "/saved"
        );
        assert_eq!(
            request(serde_json::json!({"cwd": "/x", "preserve_cwd": true})).saved_cwd(&image()),
            "/x"
        );
    }
}
