//! Reads and writes the packets of a sandbox's packet sockets.
//!
//! A frame is a `virtio_net_hdr`, an Ethernet header and an IPv4 packet. A command cannot forge the
//! headers, but it chooses the payload.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{IpNumber, Ipv4Header, Ipv4Slice, TcpHeader, TcpSlice, UdpSlice};

/// The size of `struct virtio_net_hdr`.
const VIRTIO_BYTES: usize = 10;
/// The size of an Ethernet header.
const ETHERNET_BYTES: usize = 14;
/// The start of the IPv4 packet.
const IP_START: usize = VIRTIO_BYTES + ETHERNET_BYTES;
/// The protocol field of an Ethernet header with an IPv4 packet.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// The offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the kernel completes the checksum.
const NEEDS_CHECKSUM: u8 = 1;

/// The time to live of new packets.
const TTL: u8 = 64;
/// The bytes after the IPv4 header that an ICMP error repeats (RFC 792).
const REPEATED_BYTES: usize = 8;

/// A packet that the engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Tcp(Segment),
    Udp(Datagram<'a>),
}

/// The head of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) sequence: u32,
    acknowledgment: Option<u32>,
    /// The sequence numbers that it takes: its bytes, SYN and FIN.
    length: u32,
    syn: bool,
    pub(super) reset: bool,
}

impl Segment {
    /// Returns whether it asks for a new connection.
    pub(super) fn is_first(&self) -> bool {
        self.syn && !self.reset && self.acknowledgment.is_none()
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) payload: &'a [u8],
}

/// The code of an ICMP error "destination unreachable" (RFC 792, RFC 1812).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    Network = 0,
    Host = 1,
    Port = 3,
    /// Communication is administratively prohibited.
    Prohibited = 13,
}

/// Reads a frame. Returns `None` for fragments and for everything else that is not answered.
pub(super) fn parse(frame: &[u8]) -> Option<Packet<'_>> {
    if frame.get(IP_START - 2..IP_START)? != ETHERTYPE_IPV4 {
        return None;
    }
    let bytes = frame.get(IP_START..)?;
    let ip = Ipv4Slice::from_slice(bytes).ok()?;
    let header = ip.header();
    if ip.is_payload_fragmented() || usize::from(header.total_len()) != bytes.len() {
        return None;
    }
    let at = |port| SocketAddrV4::new(header.source_addr(), port);
    let to = |port| SocketAddrV4::new(header.destination_addr(), port);
    let payload = bytes.get(header.slice().len()..)?;
    match header.protocol() {
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(payload).ok()?;
            let length = tcp.payload().len() + usize::from(tcp.syn()) + usize::from(tcp.fin());
            Some(Packet::Tcp(Segment {
                source: at(tcp.source_port()),
                destination: to(tcp.destination_port()),
                sequence: tcp.sequence_number(),
                acknowledgment: tcp.ack().then(|| tcp.acknowledgment_number()),
                length: u32::try_from(length).ok()?,
                syn: tcp.syn(),
                reset: tcp.rst(),
            }))
        }
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice(payload).ok()?;
            Some(Packet::Udp(Datagram {
                source: at(udp.source_port()),
                destination: to(udp.destination_port()),
                payload: udp.payload(),
            }))
        }
        _ => None,
    }
}

/// Replaces the addresses of a frame with a TCP segment. The kernel completes the checksum. Returns
/// `None` if the frame is too short.
pub(super) fn redirect(
    frame: &mut [u8],
    source: SocketAddrV4,
    destination: SocketAddrV4,
) -> Option<()> {
    let (virtio, rest) = frame.split_at_mut_checked(VIRTIO_BYTES)?;
    let ip = rest.get_mut(ETHERNET_BYTES..)?;
    let header_bytes = usize::from(ip.first()? & 0x0f) * 4;
    let (header, tcp) = ip.split_at_mut_checked(header_bytes)?;
    header
        .get_mut(12..16)?
        .copy_from_slice(&source.ip().octets());
    header
        .get_mut(16..20)?
        .copy_from_slice(&destination.ip().octets());
    header.get_mut(10..12)?.fill(0);
    let checksum = !sum(header);
    header
        .get_mut(10..12)?
        .copy_from_slice(&checksum.to_be_bytes());
    tcp.get_mut(0..2)?
        .copy_from_slice(&source.port().to_be_bytes());
    tcp.get_mut(2..4)?
        .copy_from_slice(&destination.port().to_be_bytes());
    let mut pseudo = [0; 12];
    pseudo.get_mut(..8)?.copy_from_slice(header.get(12..20)?);
    pseudo[9] = IpNumber::TCP.0;
    let length = u16::try_from(tcp.len()).ok()?;
    pseudo.get_mut(10..)?.copy_from_slice(&length.to_be_bytes());
    tcp.get_mut(TCP_CHECKSUM..TCP_CHECKSUM + 2)?
        .copy_from_slice(&sum(&pseudo).to_be_bytes());
    // A large segment, which the kernel cuts later, keeps the fields about its cuts.
    virtio[0] = NEEDS_CHECKSUM;
    let start = u16::try_from(ETHERNET_BYTES + header_bytes).ok()?;
    virtio[6..8].copy_from_slice(&start.to_ne_bytes());
    virtio[8..10].copy_from_slice(&(TCP_CHECKSUM as u16).to_ne_bytes());
    Some(())
}

/// The reset that answers a segment (RFC 9293, section 3.10.7.1).
pub(super) fn reset(segment: &Segment) -> Option<Vec<u8>> {
    let sequence = segment.acknowledgment.unwrap_or(0);
    let mut tcp = TcpHeader::new(
        segment.destination.port(),
        segment.source.port(),
        sequence,
        0,
    );
    tcp.rst = true;
    if segment.acknowledgment.is_none() {
        tcp.ack = true;
        tcp.acknowledgment_number = segment.sequence.wrapping_add(segment.length);
    }
    let ip = ip_header(
        tcp.header_len(),
        IpNumber::TCP,
        *segment.destination.ip(),
        *segment.source.ip(),
    )?;
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).ok()?;
    Some(assemble(&ip, &tcp.to_bytes()))
}

/// The ICMP error that answers a frame, from the address to which the frame leads.
pub(super) fn unreachable(frame: &[u8], code: Unreachable) -> Option<Vec<u8>> {
    let bytes = frame.get(IP_START..)?;
    let ip = Ipv4Slice::from_slice(bytes).ok()?;
    let header = ip.header();
    let repeated = header.slice().len() + REPEATED_BYTES;
    let mut icmp = vec![3, code as u8, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(bytes.get(..repeated)?);
    let checksum = !sum(&icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let answer = ip_header(
        icmp.len(),
        IpNumber::ICMP,
        header.destination_addr(),
        header.source_addr(),
    )?;
    Some(assemble(&answer, &icmp))
}

/// A frame with a UDP datagram. Without a checksum, which IPv4 allows, the kernel does not test it.
pub(super) fn datagram(datagram: &Datagram<'_>) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + datagram.payload.len()).ok()?;
    let mut udp = Vec::with_capacity(length.into());
    udp.extend_from_slice(&datagram.source.port().to_be_bytes());
    udp.extend_from_slice(&datagram.destination.port().to_be_bytes());
    udp.extend_from_slice(&length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(datagram.payload);
    let ip = ip_header(
        udp.len(),
        IpNumber::UDP,
        *datagram.source.ip(),
        *datagram.destination.ip(),
    )?;
    Some(assemble(&ip, &udp))
}

fn ip_header(
    payload_bytes: usize,
    protocol: IpNumber,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Option<Ipv4Header> {
    let length = u16::try_from(payload_bytes).ok()?;
    let mut header =
        Ipv4Header::new(length, TTL, protocol, source.octets(), destination.octets()).ok()?;
    header.header_checksum = header.calc_header_checksum();
    Some(header)
}

fn assemble(ip: &Ipv4Header, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; IP_START];
    frame[IP_START - 2..].copy_from_slice(&ETHERTYPE_IPV4);
    frame.extend_from_slice(&ip.to_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The ones' complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut total: u32 = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum();
    if let [last] = rest {
        total += u32::from(*last) << 8;
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 251), 40_000);
    const OUTSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 443);

    /// A frame with a TCP segment from inside to outside.
    fn segment(change: impl FnOnce(&mut TcpHeader), payload: &[u8]) -> Vec<u8> {
        let mut tcp = TcpHeader::new(INSIDE.port(), OUTSIDE.port(), 1000, 64);
        change(&mut tcp);
        let bytes = [tcp.to_bytes().as_slice(), payload].concat();
        let ip = ip_header(bytes.len(), IpNumber::TCP, *INSIDE.ip(), *OUTSIDE.ip());
        assemble(&ip.expect("a header"), &bytes)
    }

    fn tcp(frame: &[u8]) -> Segment {
        match parse(frame) {
            Some(Packet::Tcp(segment)) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_redirected_segment_has_the_new_addresses_and_valid_checksums() {
        let mut frame = segment(|tcp| tcp.syn = true, b"abc");
        let peer = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 253), 7);
        let listener = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 252), 3129);
        assert!(tcp(&frame).is_first());
        redirect(&mut frame, peer, listener).expect("a segment");
        let redirected = tcp(&frame);
        assert_eq!(
            (redirected.source, redirected.destination),
            (peer, listener)
        );
        assert_eq!(redirected.sequence, 1000);
        assert_eq!(sum(&frame[IP_START..IP_START + 20]), 0xffff);
        // The kernel sums the segment, which has the sum of the pseudo header.
        let start = usize::from(u16::from_ne_bytes([frame[6], frame[7]])) + VIRTIO_BYTES;
        let offset = usize::from(u16::from_ne_bytes([frame[8], frame[9]]));
        let checksum = !sum(&frame[start..]);
        frame[start + offset..start + offset + 2].copy_from_slice(&checksum.to_be_bytes());
        let ip = Ipv4Slice::from_slice(&frame[IP_START..]).expect("a packet");
        let segment = TcpSlice::from_slice(ip.payload().payload).expect("a segment");
        let expected = segment.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
        assert_eq!(expected.expect("a checksum"), segment.checksum());
    }

    #[test]
    fn a_reset_acknowledges_the_segment_that_it_answers() {
        let answer = tcp(&reset(&tcp(&segment(|tcp| tcp.syn = true, b""))).expect("a frame"));
        assert_eq!((answer.source, answer.destination), (OUTSIDE, INSIDE));
        assert!(answer.reset);
        assert_eq!(answer.acknowledgment, Some(1001));
        let established = segment(
            |tcp| {
                tcp.ack = true;
                tcp.acknowledgment_number = 77;
            },
            b"late",
        );
        let answer = tcp(&reset(&tcp(&established)).expect("a frame"));
        assert_eq!((answer.sequence, answer.acknowledgment), (77, None));
    }

    #[test]
    fn an_icmp_error_repeats_the_start_of_the_packet() {
        let frame = segment(|tcp| tcp.syn = true, b"");
        let answer = unreachable(&frame, Unreachable::Prohibited).expect("a frame");
        assert_eq!(parse(&answer), None);
        let icmp = &answer[IP_START + 20..];
        assert_eq!(icmp[..2], [3, 13]);
        assert_eq!(icmp[8..], frame[IP_START..IP_START + 28]);
        assert_eq!(sum(icmp), 0xffff);
        assert_eq!(answer[IP_START + 12..IP_START + 16], OUTSIDE.ip().octets());
    }

    #[test]
    fn fragments_and_packets_with_another_length_are_not_read() {
        let whole = segment(|tcp| tcp.syn = true, b"abcdefgh");
        assert!(parse(&whole).is_some());
        let mut fragment = whole.clone();
        fragment[IP_START + 6] = 0x20;
        assert_eq!(parse(&fragment), None);
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
        assert_eq!(parse(&[&whole[..], b"x"].concat()), None);
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written() {
        let written = Datagram {
            source: OUTSIDE,
            destination: INSIDE,
            payload: b"odd",
        };
        let frame = datagram(&written).expect("a frame");
        assert_eq!(parse(&frame), Some(Packet::Udp(written)));
        let long = vec![0; 70_000];
        let written = Datagram {
            payload: &long,
            ..written
        };
        assert_eq!(datagram(&written), None);
    }

    /// Does with a frame all that the engine does.
    fn use_frame(bytes: &[u8]) {
        if let Some(Packet::Tcp(segment)) = parse(bytes) {
            let answer = reset(&segment).expect("a reset");
            assert!(matches!(parse(&answer), Some(Packet::Tcp(_))));
            let mut redirected = bytes.to_vec();
            redirect(&mut redirected, OUTSIDE, INSIDE).expect("a segment");
            assert!(matches!(parse(&redirected), Some(Packet::Tcp(_))));
        }
        for code in [Unreachable::Port, Unreachable::Host, Unreachable::Network] {
            let _ = unreachable(bytes, code);
        }
        let _ = redirect(&mut bytes.to_vec(), OUTSIDE, INSIDE);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            use_frame(&bytes);
            // The same as a packet, so that more of them are read further.
            let mut frame = vec![0; IP_START];
            frame[IP_START - 2..].copy_from_slice(&ETHERTYPE_IPV4);
            frame.extend_from_slice(&bytes);
            use_frame(&frame);
        }

        #[test]
        fn no_change_of_a_valid_frame_causes_a_panic(
            changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..6),
            length in 0_usize..80,
            udp: bool,
        ) {
            let valid = if udp {
                datagram(&Datagram { source: INSIDE, destination: OUTSIDE, payload: &[7; 20] }).expect("a frame")
            } else {
                segment(|tcp| tcp.syn = true, &[7; 20])
            };
            let mut frame = valid;
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            use_frame(&frame);
            frame.truncate(length);
            use_frame(&frame);
        }
    }
}
