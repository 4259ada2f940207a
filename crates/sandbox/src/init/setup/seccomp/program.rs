//! The translation of decisions into a BPF program.
//!
//! The program finds the decision for a number by a binary search, so each call costs about as much
//! as any other. Since Linux 5.11, the kernel finds out in advance which numbers the program always
//! allows, and does not run it for those.

use std::collections::HashMap;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

use super::architecture::Architecture;
use super::decision::{Argument, ArgumentTest, Decision, MISSING};

/// The decision about calls and numbers without a decision.
static UNKNOWN: Decision = MISSING;

/// Consecutive numbers with one decision, from the first number to that of the next range.
type Range<'a> = (u32, &'a Decision);

/// Makes the filter for an architecture. Calls without a decision, numbers without a call, and
/// calls of other architectures are missing.
pub(super) fn assemble(
    architecture: &Architecture,
    decisions: &HashMap<&str, Decision>,
) -> Vec<sock_filter> {
    let ranges = ranges(&(architecture.calls)(), decisions);
    let mut code = vec![load(OFFSET_OF_ARCHITECTURE)];
    let mut known = vec![load(OFFSET_OF_NUMBER)];
    known.extend(search(&ranges));
    branch(&mut code, BPF_JEQ, architecture.audit_number, known);
    code.extend(decide(&UNKNOWN));
    code
}

fn ranges<'a>(calls: &[(u32, &str)], decisions: &'a HashMap<&str, Decision>) -> Vec<Range<'a>> {
    let mut ranges: Vec<Range<'a>> = Vec::new();
    let mut add = |first, decision| {
        if ranges.last().is_none_or(|&(_, before)| before != decision) {
            ranges.push((first, decision));
        }
    };
    let mut next = 0;
    for &(number, name) in calls {
        if number > next {
            add(next, &UNKNOWN);
        }
        add(number, decisions.get(name).unwrap_or(&UNKNOWN));
        next = number + 1;
    }
    add(next, &UNKNOWN);
    ranges
}

fn search(ranges: &[Range<'_>]) -> Vec<sock_filter> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    match high {
        [] => decide(&UNKNOWN),
        [(_, decision)] if low.is_empty() => decide(decision),
        [(first, _), ..] => {
            let mut code = Vec::new();
            branch(&mut code, BPF_JGE, *first, search(high));
            code.extend(search(low));
            code
        }
    }
}

/// The code that returns the answer. It never continues behind its end.
fn decide(decision: &Decision) -> Vec<sock_filter> {
    match decision {
        Decision::Answer(value) => vec![instruction(BPF_RET | BPF_K, *value)],
        Decision::ByArgument {
            argument,
            tests,
            otherwise,
        } => {
            let mut code = vec![load(offset_of(argument))];
            if argument.mask != u32::MAX {
                code.push(instruction(BPF_ALU | BPF_AND | BPF_K, argument.mask));
            }
            for (test, decision) in tests {
                let (comparison, value) = match *test {
                    ArgumentTest::Equal(value) => (BPF_JEQ, value),
                    ArgumentTest::AnyBit(bits) => (BPF_JSET, bits),
                };
                branch(&mut code, comparison, value, decide(decision));
            }
            code.extend(decide(otherwise));
            code
        }
    }
}

/// Appends a test and the code for the case that it holds. The code for the other case comes next.
fn branch(code: &mut Vec<sock_filter>, comparison: u32, value: u32, then: Vec<sock_filter>) {
    let test = instruction(BPF_JMP | comparison | BPF_K, value);
    if let Ok(jf) = u8::try_from(then.len()) {
        code.push(sock_filter { jf, ..test });
    } else {
        // The offset of a test has 8 bits, that of an unconditional jump has 32.
        code.push(sock_filter { jt: 1, ..test });
        let length = u32::try_from(then.len()).unwrap_or(u32::MAX);
        code.push(instruction(BPF_JMP | BPF_JA, length));
    }
    code.extend(then);
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset)
}

const fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

// struct seccomp_data: number, architecture, instruction pointer (8 bytes), and six arguments (8
// bytes each, lower half first).
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;

fn offset_of(argument: &Argument) -> u32 {
    16 + 8 * argument.index + if argument.is_upper_half { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::architecture::X86_64;
    use super::super::decision::{ALLOW, argument, fail_with};
    use super::super::interpreter::run;
    use super::*;

    #[test]
    fn jumps_over_more_than_255_instructions_arrive() {
        let tests = (0..400).map(|value| (ArgumentTest::Equal(value), ALLOW));
        let long = argument(2).decides(tests, fail_with(Errno::INVAL));
        let decisions = HashMap::from([
            ("read", fail_with(Errno::IO)),
            ("write", long),
            ("open", fail_with(Errno::ACCESS)),
        ]);
        let program = assemble(&X86_64, &decisions);
        let answer = |number, value| {
            let answer = run(
                &program,
                X86_64.audit_number,
                number,
                [0, 0, value, 0, 0, 0],
            );
            Decision::Answer(answer.value)
        };
        assert_eq!(answer(0, 0), fail_with(Errno::IO));
        assert_eq!(answer(1, 0), ALLOW);
        assert_eq!(answer(1, 399), ALLOW);
        assert_eq!(answer(1, 400), fail_with(Errno::INVAL));
        assert_eq!(answer(2, 0), fail_with(Errno::ACCESS));
        assert_eq!(answer(3, 0), MISSING);
    }
}
