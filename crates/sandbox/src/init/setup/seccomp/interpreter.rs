//! An interpreter of filters, for tests. It runs the program of any architecture on any machine.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

/// The result of a program.
pub(super) struct FilterResult {
    pub(super) value: u32,
    /// The number of instructions that ran.
    pub(super) steps: usize,
}

/// Runs a filter on a call.
pub(super) fn run(
    program: &[sock_filter],
    audit_number: u32,
    number: u32,
    arguments: [u64; 6],
) -> FilterResult {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(audit_number.to_le_bytes());
    data.extend([0; 8]);
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let offset = k as usize;
        match u32::from(code) {
            code if code == BPF_RET | BPF_K => return FilterResult { value: k, steps },
            code if code == BPF_LD | BPF_W | BPF_ABS => {
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            code if code == BPF_ALU | BPF_AND | BPF_K => accumulator &= k,
            code if code == BPF_JMP | BPF_JA => at += offset,
            code => {
                assert_eq!(code & 0x0f, BPF_JMP | BPF_K, "instruction {code:#x}");
                let holds = match code & 0xf0 {
                    BPF_JEQ => accumulator == k,
                    BPF_JGE => accumulator >= k,
                    BPF_JSET => accumulator & k != 0,
                    other => panic!("comparison {other:#x}"),
                };
                at += usize::from(if holds { jt } else { jf });
            }
        }
    }
}
