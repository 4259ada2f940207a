//! Users of this machine.

/// Finds the name of a user id in the text of `/etc/passwd`.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_uid() {
        assert_eq!(
            user_name("root:x:0:0::/:\nann:x:1001:1001::/:\n", 1001).as_deref(),
            Some("ann")
        );
    }
}
