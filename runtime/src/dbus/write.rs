//! Values → bytes. Little-endian: a message says which order it has, and every bus reads both.

use super::signature::alignment;
use super::value::Value;

/// Appends a value. `bytes` begins where the alignment is counted from: at a message's header or body.
pub fn write(bytes: &mut Vec<u8>, value: &Value) {
    align(bytes, alignment(value.signature().as_bytes().first().copied().unwrap_or(b'y')));
    match value {
        Value::Byte(number) => bytes.push(*number),
        Value::Bool(is) => bytes.extend(u32::from(*is).to_le_bytes()),
        Value::Int16(number) => bytes.extend(number.to_le_bytes()),
        Value::Uint16(number) => bytes.extend(number.to_le_bytes()),
        Value::Int32(number) => bytes.extend(number.to_le_bytes()),
        Value::Uint32(number) => bytes.extend(number.to_le_bytes()),
        Value::Int64(number) => bytes.extend(number.to_le_bytes()),
        Value::Uint64(number) => bytes.extend(number.to_le_bytes()),
        Value::Double(number) => bytes.extend(number.to_le_bytes()),
        Value::Text(text) | Value::Path(text) => {
            bytes.extend(length(text.len()));
            terminated(bytes, text);
        }
        Value::Signature(text) => signature(bytes, text),
        Value::Array(element, items) => array(bytes, element, items),
        Value::Struct(fields) => fields.iter().for_each(|field| write(bytes, field)),
        Value::Entry(entry) => {
            write(bytes, &entry.0);
            write(bytes, &entry.1);
        }
        Value::Variant(inner) => {
            signature(bytes, &inner.signature());
            write(bytes, inner);
        }
    }
}

/// Pads with zeroes up to a boundary.
pub(super) fn align(bytes: &mut Vec<u8>, boundary: usize) {
    bytes.resize(bytes.len().next_multiple_of(boundary), 0);
}

fn length(bytes: usize) -> [u8; 4] {
    // What is longer than a message may be is refused where the message is put together.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn terminated(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn signature(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    terminated(bytes, text);
}

/// The length counts from the first element on, without the padding before it.
fn array(bytes: &mut Vec<u8>, element: &str, items: &[Value]) {
    let at = bytes.len();
    bytes.extend([0; 4]);
    align(bytes, alignment(element.as_bytes().first().copied().unwrap_or(b'y')));
    let first = bytes.len();
    for item in items {
        write(bytes, item);
    }
    let size = length(bytes.len() - first);
    bytes[at..at + 4].copy_from_slice(&size);
}
