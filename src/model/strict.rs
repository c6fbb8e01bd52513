//! JSON from outside, before it means anything: no key twice, no deep nesting.
//!
//! Parsers disagree about a key that occurs twice: some take the first value, some the last. A
//! signed document has one reading, so such a text is refused, wherever the key is.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Deserializer};

/// Deepest nesting that is read. Our deepest document, a release, has eight levels.
pub const MAX_DEPTH: usize = 16;

/// Parses JSON strictly.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut scan = serde_json::Deserializer::from_slice(bytes);
    Value { depth: 0 }.deserialize(&mut scan)?;
    scan.end()?;
    serde_json::from_slice(bytes)
}

/// A value that is looked through and dropped.
#[derive(Clone, Copy)]
struct Value {
    depth: usize,
}

impl Value {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while list.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below()?;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if let Some(twice) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("key `{twice}` occurs twice")));
            }
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<String, D::Error> {
        String::deserialize(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> String {
        match from_slice::<serde_json::Value>(text.as_bytes()) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_text_has_one_reading() {
        insta::assert_snapshot!(verdict(r#"{"a":[1,-2,0.5,"x",null,true,{"b":{}}]}"#), @r#"{"a":[1,-2,0.5,"x",null,true,{"b":{}}]}"#);
        insta::assert_snapshot!(verdict(r#"{"a":1,"a":1}"#), @"key `a` occurs twice at line 1 column 10");
        insta::assert_snapshot!(verdict(r#"{"a":{"b":1,"\u0062":2}}"#), @"key `b` occurs twice at line 1 column 20");
        insta::assert_snapshot!(verdict(r#"{"a":1} {"a":2}"#), @"trailing characters at line 1 column 9");
    }

    #[test]
    fn depth_has_an_end() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(verdict(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
        insta::assert_snapshot!(verdict(&nested(MAX_DEPTH + 1)), @"nested deeper than 16 levels at line 1 column 18");
        insta::assert_snapshot!(verdict(&"[".repeat(1 << 20)), @"nested deeper than 16 levels at line 1 column 17");
    }
}
