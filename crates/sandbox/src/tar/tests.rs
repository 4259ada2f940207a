use super::*;

/// Makes a header with its checksum.
fn header(path: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..path.len()].copy_from_slice(path);
    for (at, text) in [(100, "0000644\0"), (108, "0000001\0"), (116, "0000002\0")] {
        block[at..at + 8].copy_from_slice(text.as_bytes());
    }
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000007\0");
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(BLOCK), 0);
    content
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length += 1;
        }
        text.extend(format!("{length} {key}=").as_bytes());
        text.extend(*value);
        text.push(b'\n');
    }
    [header(b"pax", b'x', text.len() as u64), padded(&text)].concat()
}

fn read(archive: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
    let mut archive = Archive::new(archive);
    let mut members = Vec::new();
    while let Some(member) = archive.next_member()? {
        let mut content = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match archive.read_data(&mut buffer)? {
                0 => break,
                read => content.extend(&buffer[..read]),
            }
        }
        members.push((member, content));
    }
    Ok(members)
}

#[test]
fn members_in_their_order() {
    let archive = [
        header(b"dir/", b'5', 0),
        header(b"dir/file", b'0', 600),
        padded(&[b'x'; 600]),
        header(b"pipe", b'6', 0),
        vec![0; 2 * BLOCK],
        b"whatever comes after".to_vec(),
    ]
    .concat();
    let members = read(&archive).unwrap();
    let kinds: Vec<_> = members.iter().map(|(member, _)| member.kind).collect();
    assert_eq!(
        kinds,
        [MemberKind::Directory, MemberKind::File, MemberKind::Fifo]
    );
    let (file, content) = &members[1];
    assert_eq!(
        (file.mode, file.uid, file.gid, file.mtime),
        (0o644, 1, 2, (7, 0))
    );
    assert_eq!((file.offset, content.len()), (1024, 600));
    // The archive without its final zeros and the last padding.
    assert_eq!(read(&archive[..2 * BLOCK + 600]).unwrap().len(), 2);
}

#[test]
fn a_truncated_archive_is_an_error() {
    let archive = [header(b"file", b'0', 600), padded(&[b'x'; 600])].concat();
    for length in [1, 511, 513, 1000] {
        let error = read(&archive[..length]).unwrap_err();
        assert!(
            error.to_string().contains("ends too early"),
            "{length}: {error}"
        );
    }
    let mut broken = archive;
    broken[0] = b'g';
    assert!(matches!(read(&broken), Err(TarError::Header(0))));
}

#[test]
fn long_names_of_both_kinds() {
    let long = vec![b'n'; 300];
    let archive = [
        header(b"././@LongLink", b'L', 301),
        padded(&[&long[..], b"\0"].concat()),
        header(b"short", b'0', 0),
        pax(&[
            ("path", &long),
            ("linkpath", b"else/where"),
            ("mtime", b"9.5"),
            ("uid", b"70000"),
            ("SCHILY.xattr.user.x", b"a\nb=\0"),
        ]),
        header(b"short", b'2', 0),
    ]
    .concat();
    let members = read(&archive).unwrap();
    assert_eq!(members[0].0.path, long);
    let link = &members[1].0;
    assert_eq!((&link.path, &link.link[..]), (&long, &b"else/where"[..]));
    assert_eq!((link.mtime, link.uid), ((9, 500_000_000), 70_000));
    assert_eq!(link.xattrs, [(b"user.x".to_vec(), b"a\nb=\0".to_vec())]);
    let mut prefixed = header(b"name", b'0', 0);
    prefixed[345..348].copy_from_slice(b"dir");
    seal(&mut prefixed);
    assert_eq!(read(&prefixed).unwrap()[0].0.path, b"dir/name");
}

#[test]
fn sparse_files_of_all_kinds() {
    let expected = Sparse {
        length: 10_000,
        pieces: vec![(1000, 3), (5000, 2)],
    };
    let mut old = header(b"old", b'S', 5);
    for (at, number) in [(386, 1000), (398, 3), (410, 5000), (422, 2), (483, 10_000)] {
        old[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    seal(&mut old);
    let pieces = [
        [old, padded(b"abcde")].concat(),
        [
            pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.offset", b"1000"),
                ("GNU.sparse.numbytes", b"3"),
                ("GNU.sparse.offset", b"5000"),
                ("GNU.sparse.numbytes", b"2"),
            ]),
            header(b"zero", b'0', 5),
            padded(b"abcde"),
        ]
        .concat(),
        [
            pax(&[
                ("GNU.sparse.name", b"one"),
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.map", b"1000,3,5000,2"),
            ]),
            header(b"GNUSparseFile.1/one", b'0', 5),
            padded(b"abcde"),
        ]
        .concat(),
        [
            pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"two"),
                ("GNU.sparse.realsize", b"10000"),
            ]),
            header(b"GNUSparseFile.1/two", b'0', 517),
            padded(b"2\n1000\n3\n5000\n2\n"),
            padded(b"abcde"),
        ]
        .concat(),
    ];
    for (archive, name) in pieces.iter().zip(["old", "zero", "one", "two"]) {
        let members = read(archive).unwrap();
        let (member, content) = &members[0];
        assert_eq!(member.path, name.as_bytes());
        assert_eq!(
            (member.sparse.as_ref(), member.length()),
            (Some(&expected), 10_000),
            "{name}"
        );
        assert_eq!(content, b"abcde");
    }
}

#[test]
fn sparse_maps_that_do_not_fit_are_refused() {
    for map in [
        "1000,3,900,2",
        "1000,3,9999,2",
        "1000,3",
        "18446744073709551615,5",
        "0,5",
    ] {
        let archive = [
            pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.map", map.as_bytes()),
            ]),
            header(b"file", b'0', 5),
            padded(b"abcde"),
        ]
        .concat();
        let fits = map == "0,5";
        assert_eq!(read(&archive).is_ok(), fits, "{map}");
    }
}

#[test]
fn invalid_numbers_and_impossible_sizes_are_refused() {
    let mut block = header(b"file", b'0', 0);
    block[124..136].copy_from_slice(b"9999999999z\0");
    seal(&mut block);
    assert!(read(&block).is_err());
    // Base 256.
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
    seal(&mut block);
    let error = read(&block).unwrap_err();
    assert!(error.to_string().contains("too early"), "{error}");
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]);
    seal(&mut block);
    assert!(read(&block).is_err());
    block[124..136].copy_from_slice(&[0xff; 12]);
    seal(&mut block);
    assert!(read(&block).is_err());
    assert!(matches!(
        read(&header(b"x", b'M', 0)),
        Err(TarError::Type(b'M'))
    ));
    let many = pax(&[("path", b"x")]).repeat(40);
    assert!(read(&many).is_err());
}
