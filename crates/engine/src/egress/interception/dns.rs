//! Reads questions to a name server and writes its answers.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

/// How long a program may keep an answer, in seconds.
const TTL: u32 = 60;

/// The question of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The IPv4 address of a name.
    Address(String),
    /// The IPv6 address of a name. It has none, but the name may exist.
    Ipv6Address(String),
    /// Anything else about a name. It has no such records.
    Other,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Address(Ipv4Addr),
    /// The name has no record of this type.
    NoRecord,
    /// There is no such name.
    NoName,
    /// The answer is unknown.
    Failed,
}

/// Reads a query. Returns `None` for everything that is not a query with one question.
pub(super) fn question(query: &[u8]) -> Option<Question> {
    let packet = parse(query)?;
    let question = packet.questions.first()?;
    let name = || question.qname.to_string();
    Some(match (question.qtype, question.qclass) {
        (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN)) => Question::Address(name()),
        (QTYPE::TYPE(TYPE::AAAA), QCLASS::CLASS(CLASS::IN)) => Question::Ipv6Address(name()),
        _ => Question::Other,
    })
}

/// Writes the answer to a query.
pub(super) fn answer(query: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let mut packet = parse(query)?;
    let question = packet.questions.first()?.clone();
    let recursion = packet.has_flags(PacketFlag::RECURSION_DESIRED);
    let mut reply = Packet::new_reply(packet.id());
    reply.questions = std::mem::take(&mut packet.questions);
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if recursion {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    match answer {
        Answer::Address(address) => {
            let data = RData::A(A::from(address));
            let record = ResourceRecord::new(question.qname, CLASS::IN, TTL, data);
            reply.answers.push(record);
        }
        Answer::NoRecord => {}
        Answer::NoName => *reply.rcode_mut() = RCODE::NameError,
        Answer::Failed => *reply.rcode_mut() = RCODE::ServerFailure,
    }
    reply.build_bytes_vec_compressed().ok()
}

fn parse(query: &[u8]) -> Option<Packet<'_>> {
    let packet = Packet::parse(query).ok()?;
    let is_query = !packet.has_flags(PacketFlag::RESPONSE)
        && packet.opcode() == OPCODE::StandardQuery
        && packet.questions.len() == 1;
    is_query.then_some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::{Name, Question as DnsQuestion};

    use super::*;

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(0x1234);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(DnsQuestion::new(
            Name::new(name).expect(name),
            kind.into(),
            CLASS::IN.into(),
            false,
        ));
        packet.build_bytes_vec().expect("a query")
    }

    #[test]
    fn an_address_is_answered_with_the_question_as_it_was_asked() {
        let query = query("Example.COM", TYPE::A);
        assert_eq!(
            question(&query),
            Some(Question::Address("Example.COM".to_owned()))
        );
        let address = Ipv4Addr::new(198, 18, 0, 1);
        let bytes = answer(&query, Answer::Address(address)).expect("an answer");
        let reply = Packet::parse(&bytes).expect("a reply");
        assert_eq!((reply.id(), reply.rcode()), (0x1234, RCODE::NoError));
        assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        assert_eq!(reply.questions[0].qname.to_string(), "Example.COM");
        assert!(
            matches!(&reply.answers[0].rdata, RData::A(found) if Ipv4Addr::from(found.address) == address)
        );
        // An answer is not a question.
        assert_eq!(question(&bytes), None);
    }

    #[test]
    fn other_types_have_no_records() {
        for kind in [TYPE::MX, TYPE::TXT, TYPE::SRV, TYPE::PTR] {
            let query = query("example.com", kind);
            assert_eq!(question(&query), Some(Question::Other));
            let bytes = answer(&query, Answer::NoRecord).expect("an answer");
            let reply = Packet::parse(&bytes).expect("a reply");
            assert!(reply.answers.is_empty() && reply.rcode() == RCODE::NoError);
        }
        let query = query("none.example", TYPE::A);
        for (outcome, code) in [
            (Answer::NoName, RCODE::NameError),
            (Answer::Failed, RCODE::ServerFailure),
        ] {
            let bytes = answer(&query, outcome).expect("an answer");
            assert_eq!(Packet::parse(&bytes).expect("a reply").rcode(), code);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = question(&bytes);
            let _ = answer(&bytes, Answer::Address(Ipv4Addr::LOCALHOST));
        }

        #[test]
        fn no_change_of_a_query_causes_a_panic(
            changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..6),
            length in 0_usize..60,
        ) {
            let mut bytes = query("a.long.name.example.com", TYPE::A);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            for length in [bytes.len(), length] {
                bytes.truncate(length);
                let _ = question(&bytes);
                if let Some(reply) = answer(&bytes, Answer::Address(Ipv4Addr::LOCALHOST)) {
                    // It never answers more than about twice the question.
                    prop_assert!(reply.len() <= 2 * bytes.len() + 64);
                }
            }
        }
    }
}
