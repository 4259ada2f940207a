//! The users and groups of an image.

use uuid::Uuid;

use super::error::{InstructionError, StepError};
use crate::Client;
use crate::cli::verbs::existing_directories::is_no_directory;

/// The numbers of a user and of its group, and its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

/// The account that `USER[:GROUP]` names. Without a group, a user gets its own group, and a number
/// that the image does not know gets the group that `default_group` returns.
///
/// # Errors
/// If the image does not know the name, or cannot be read.
pub(super) async fn resolve(
    client: &Client,
    image: Uuid,
    text: &str,
    default_group: impl FnOnce(u32) -> u32,
) -> Result<Account, StepError> {
    let users = read(client, image, "/etc/passwd").await?;
    let groups = match text.contains(':') {
        true => read(client, image, "/etc/group").await?,
        false => String::new(),
    };
    Ok(account(text, &users, &groups, default_group)?)
}

async fn read(client: &Client, image: Uuid, path: &str) -> Result<String, StepError> {
    match client.image(image).fs().read(path).await {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if is_no_directory(&error) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

fn account(
    text: &str,
    users: &str,
    groups: &str,
    default_group: impl FnOnce(u32) -> u32,
) -> Result<Account, InstructionError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let number = user.parse::<u32>().ok();
    let known = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            return None;
        };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (name == user || number == Some(uid)).then(|| Account {
            uid,
            gid,
            home: home.to_owned(),
        })
    });
    let mut account = match (known, number) {
        (Some(account), _) => account,
        (None, Some(uid)) => Account {
            uid,
            gid: default_group(uid),
            home: if uid == 0 { "/root" } else { "/" }.to_owned(),
        },
        (None, None) if user == "root" => Account {
            uid: 0,
            gid: 0,
            home: "/root".to_owned(),
        },
        (None, None) => return Err(InstructionError::UnknownUser(user.to_owned())),
    };
    if let Some(group) = group {
        let known = groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(group);
            fields.nth(1).filter(|_| is_it)?.parse().ok()
        });
        let gid = group.parse().ok().or(known);
        account.gid = match gid {
            Some(gid) => gid,
            None if group == "root" => 0,
            None => return Err(InstructionError::UnknownGroup(group.to_owned())),
        };
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nstaff:x:50:app\n";

    #[test]
    fn names_and_numbers_are_resolved() {
        for (text, uid, gid, home) in [
            ("root", 0, 0, "/root"),
            ("app", 1000, 1001, "/home/app"),
            ("1000", 1000, 1001, "/home/app"),
            ("app:staff", 1000, 50, "/home/app"),
            ("app:7", 1000, 7, "/home/app"),
            ("7", 7, 70, "/"),
            ("7:8", 7, 8, "/"),
        ] {
            let found = account(text, USERS, GROUPS, |uid| uid * 10).unwrap();
            let home = home.to_owned();
            assert_eq!(found, Account { uid, gid, home }, "{text}");
        }
        assert_eq!(account("root", "", "", |_| 1).unwrap().gid, 0);
        assert!(account("none", USERS, GROUPS, |_| 0).is_err());
        assert!(account("app:none", USERS, GROUPS, |_| 0).is_err());
    }
}
