//! Replies that accept every record, as long as the service's own.

const OPEN_ARRAY: u8 = 0x9f;
const OPEN_MAP: u8 = 0xbf;
const END: u8 = 0xff;

/// The body of a JSON reply, without blanks.
pub fn json(records: usize) -> Vec<u8> {
    let record = |index| format!("{{\"SequenceNumber\":\"{}\",\"ShardId\":\"{}\"}}", number(index), shard(index));
    let records = (0..records).map(record).collect::<Vec<_>>().join(",");
    format!("{{\"FailedRecordCount\":0,\"Records\":[{records}]}}").into_bytes()
}

/// The same in CBOR, with maps and arrays of indefinite length, as Java's generator writes them.
pub fn cbor(records: usize) -> Vec<u8> {
    let mut body = vec![OPEN_MAP];
    write_text("FailedRecordCount", &mut body);
    body.push(0);
    write_text("Records", &mut body);
    body.push(OPEN_ARRAY);
    for index in 0..records {
        body.push(OPEN_MAP);
        write_text("SequenceNumber", &mut body);
        write_text(&number(index), &mut body);
        write_text("ShardId", &mut body);
        write_text(&shard(index), &mut body);
        body.push(END);
    }
    body.extend([END, END]);
    body
}

/// A text of less than 256 bytes.
fn write_text(text: &str, body: &mut Vec<u8>) {
    match text.len() {
        length @ 0..24 => body.push(0x60 | length as u8),
        length => body.extend([0x78, length as u8]),
    }
    body.extend_from_slice(text.as_bytes());
}

/// 56 digits.
fn number(index: usize) -> String {
    format!("4954346307654800757710509270303956035997522851839{:07}", index % 10_000_000)
}

fn shard(index: usize) -> String {
    format!("shardId-{:012}", index % 4)
}
