//! A program for steps that only place files or save settings.
//!
//! A run needs a program, and an image may have none. This one removes itself and ends. It is a
//! static program of a few instructions, so that nothing of the image is needed.

/// The path of the program in the image, while the step runs.
pub(super) const PATH: &str = "/.contree-build";

/// The address at which the program is loaded.
const LOAD_ADDRESS: u64 = 0x40_0000;
/// The size of the header of the file.
const FILE_HEADER_BYTES: u16 = 64;
/// The size of the header of the one segment.
const SEGMENT_HEADER_BYTES: u16 = 56;

/// The instructions for x86-64: unlink(PATH), and exit with its result.
const X86_64: [u8; 23] = [
    0x48, 0x8d, 0x3d, 0x10, 0, 0, 0, // lea rdi, [rip + 16]: the path after the code
    0xb8, 87, 0, 0, 0, // mov eax, 87: unlink
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0xb8, 60, 0, 0, 0, // mov eax, 60: exit
    0x0f, 0x05, // syscall
];

/// The instructions for AArch64: unlinkat(AT_FDCWD, PATH, 0), and exit with its result.
const AARCH64: [u32; 7] = [
    0x9280_0c60, // mov x0, -100
    0x1000_00c1, // adr x1, 24: the path after the code
    0xd280_0002, // mov x2, 0
    0xd280_0468, // mov x8, 35: unlinkat
    0xd400_0001, // svc 0
    0xd280_0ba8, // mov x8, 93: exit
    0xd400_0001, // svc 0
];

/// The program for an architecture; none for an unknown one.
pub(super) fn program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, code): (u16, Vec<u8>) = match architecture {
        "x86_64" => (62, X86_64.to_vec()),
        "aarch64" => (
            183,
            AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        ),
        _ => return None,
    };
    let headers = u64::from(FILE_HEADER_BYTES + SEGMENT_HEADER_BYTES);
    let size = headers + (code.len() + PATH.len() + 1) as u64;
    let mut file = Vec::new();
    // The file header: 64 bits, little-endian, version 1.
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(2_u16.to_le_bytes()); // An executable program.
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend((LOAD_ADDRESS + headers).to_le_bytes()); // The first instruction.
    file.extend(u64::from(FILE_HEADER_BYTES).to_le_bytes()); // The segment headers.
    file.extend(0_u64.to_le_bytes()); // No section headers.
    file.extend(0_u32.to_le_bytes());
    for number in [FILE_HEADER_BYTES, SEGMENT_HEADER_BYTES, 1, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    // The segment: the whole file, to be read and executed.
    file.extend(1_u32.to_le_bytes());
    file.extend(5_u32.to_le_bytes());
    for number in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1_0000] {
        file.extend(u64::to_le_bytes(number));
    }
    file.extend(code);
    file.extend(PATH.as_bytes());
    file.push(0);
    Some(file)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_program_ends_by_itself() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let bytes = program(std::env::consts::ARCH).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // There is no file at its path here, so its status is that error.
        let status = std::process::Command::new(&path).status().unwrap();
        assert_eq!(status.code(), Some(256 - 2));
    }

    #[test]
    fn the_headers_have_their_sizes() {
        for (architecture, code) in [("x86_64", 23), ("aarch64", 28)] {
            let size = 64 + 56 + code + PATH.len() + 1;
            assert_eq!(program(architecture).unwrap().len(), size);
        }
        assert!(program("s390x").is_none());
    }
}
