//! A profile as a tree whose every node knows its place, and the step from there to the types of [`wire`].
//!
//! The usual way, from text to a type in one go, stops at the first fault. Here a fault is noted at its place and the
//! [`Field`] in which it was found stays empty, so that one look shows all of them.
//!
//! [`wire`]: super::wire

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::faults::{Excerpt, Fault, FaultKind, Found, Place, Shape};
use super::near::nearest;
use super::wire::Spot;

/// A place with what stands there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    /// `plain` means without quotes, which numbers and `true` and `false` must be.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys are scalars, each once.
    Map(Vec<(Node, Node)>),
}

impl Value {
    fn found(&self) -> Found {
        match self {
            Value::Null => Found::Nothing,
            Value::Scalar { text, .. } => Found::Value(text.chars().take(60).collect()),
            Value::List(_) => Found::List,
            Value::Map(_) => Found::Fields,
        }
    }
}

/// Collects the faults of one file.
#[derive(Debug)]
pub(super) struct Recorder {
    file: PathBuf,
    lines: Vec<String>,
    faults: RefCell<Vec<Fault>>,
    /// The product key of each line that has one.
    keys: RefCell<BTreeMap<u32, Spot>>,
}

impl Recorder {
    /// For a file with this text, in which keys are masked already.
    pub(super) fn new(file: PathBuf, text: &str) -> Self {
        Self {
            file,
            lines: text.lines().map(str::to_owned).collect(),
            faults: RefCell::default(),
            keys: RefCell::default(),
        }
    }

    pub(super) fn place(&self, spot: Spot) -> Place {
        Place { file: self.file.clone(), line: spot.line, column: spot.column }
    }

    pub(super) fn note(&self, spot: Spot, kind: FaultKind) {
        if kind == FaultKind::ProductKey {
            self.keys.borrow_mut().insert(spot.line, spot);
        } else if self.keys.borrow().get(&spot.line).is_some_and(|key| spot.covers(*key)) {
            // That the value is a product key is what is wrong with it.
            return;
        }
        let number = usize::try_from(spot.line).unwrap_or(0);
        let line = number.checked_sub(1).and_then(|index| self.lines.get(index));
        let excerpt = line.map(|line| Excerpt::new(line, spot.column, spot.width));
        self.faults.borrow_mut().push(Fault { kind, place: self.place(spot), excerpt });
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// Why a value could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// The fault is noted.
    #[error("noted")]
    Noted,
    /// What serde says, for which there is no situation of its own.
    #[error("{0}")]
    Said(String),
}

impl serde::de::Error for Halt {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Halt::Said(message.to_string())
    }
}

/// The name under which a [`Field`](super::wire::Field) asks for its place.
pub(super) const FIELD: &str = "klonwerk::Field";

/// The name under which a struct asks for its fields, or for a single value that stands in their place.
pub(super) const OR_TEXT: &str = "klonwerk::OrText";

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de> {
    pub(super) node: &'de Node,
    pub(super) recorder: &'de Recorder,
}

impl<'de> Reader<'de> {
    fn of(self, node: &'de Node) -> Self {
        Self { node, ..self }
    }

    fn wrong(self, expected: Shape) -> Halt {
        self.note(FaultKind::WrongShape { expected, found: self.node.value.found() })
    }

    fn note(self, kind: FaultKind) -> Halt {
        self.recorder.note(self.node.spot, kind);
        Halt::Noted
    }

    fn number<V: Visitor<'de>>(self, most: u64, visitor: V) -> Result<V::Value, Halt> {
        if let Value::Scalar { text, plain: true } = &self.node.value {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            if let Some(number) = text.parse().ok().filter(|number| digits && *number <= most) {
                return visitor.visit_u64(number);
            }
        }
        Err(self.wrong(Shape::Number { least: 0, most }))
    }

    /// The entries of a struct; those that it does not know are noted and left out.
    fn fields<V: Visitor<'de>>(self, known: &'static [&'static str], visitor: V) -> Result<V::Value, Halt> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(self.wrong(Shape::Fields)),
        };
        let mut kept = Vec::new();
        for (key, value) in entries {
            let Value::Scalar { text: field, .. } = &key.value else { continue };
            if known.contains(&field.as_str()) {
                kept.push((key, value));
                continue;
            }
            let near = nearest(field, known.iter().copied());
            let field = field.chars().take(60).collect();
            self.recorder.note(key.spot, FaultKind::UnknownField { field, known: known.to_vec(), near });
        }
        visitor.visit_map(Entries { reader: self, rest: kept.into_iter(), value: None, named: false })
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
            self.number(u64::from(<$type>::MAX), visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Halt;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    numbers!(deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text == "true" => visitor.visit_bool(true),
            Value::Scalar { text, plain: true } if text == "false" => visitor.visit_bool(false),
            _ => Err(self.wrong(Shape::YesNo)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            _ => Err(self.wrong(Shape::Text)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Halt> {
        if name == FIELD {
            return visitor.visit_seq(Placed { reader: self, given: 0 });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match &self.node.value {
            Value::List(nodes) => visitor.visit_seq(Items { reader: self, rest: nodes.iter() }),
            _ => Err(self.wrong(Shape::List)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        let Value::Map(entries) = &self.node.value else { return Err(self.wrong(Shape::Fields)) };
        let all: Vec<(&Node, &Node)> = entries.iter().map(|(key, value)| (key, value)).collect();
        visitor.visit_map(Entries { reader: self, rest: all.into_iter(), value: None, named: true })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        if let (OR_TEXT, Value::Scalar { text, .. }) = (name, &self.node.value) {
            return visitor.visit_borrowed_str(text);
        }
        self.fields(known, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        choices: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        let (choice, content) = match &self.node.value {
            Value::Scalar { .. } => (self.node, None),
            Value::Map(entries) => match entries.as_slice() {
                [(key, value)] => (key, Some(value)),
                _ => return Err(self.note(FaultKind::NotOneChoice { choices: choices.to_vec() })),
            },
            _ => return Err(self.wrong(Shape::Text)),
        };
        let Value::Scalar { text, .. } = &choice.value else { return Err(self.of(choice).wrong(Shape::Text)) };
        if !choices.contains(&text.as_str()) {
            let near = nearest(text, choices.iter().copied());
            let found = text.chars().take(60).collect();
            return Err(self.of(choice).note(FaultKind::UnknownChoice { found, choices: choices.to_vec(), near }));
        }
        visitor.visit_enum(Choice { reader: self, choice: text, content })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// What a [`Field`](super::wire::Field) gets: its place, then its value; a value that cannot be read is noted here.
struct Placed<'de> {
    reader: Reader<'de>,
    given: u8,
}

impl<'de> SeqAccess<'de> for Placed<'de> {
    type Error = Halt;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Halt> {
        self.given += 1;
        if self.given == 1 {
            return seed.deserialize(self.reader.node.spot.packed().into_deserializer()).map(Some);
        }
        match seed.deserialize(self.reader) {
            Ok(value) => Ok(Some(value)),
            Err(Halt::Noted) => Err(Halt::Noted),
            Err(Halt::Said(message)) => Err(self.reader.note(FaultKind::Syntax { message })),
        }
    }
}

struct Items<'de> {
    reader: Reader<'de>,
    rest: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Halt;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Halt> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        if node.value == Value::Null {
            self.reader.of(node).note(FaultKind::EmptyEntry);
        }
        seed.deserialize(self.reader.of(node)).map(Some)
    }
}

struct Entries<'de> {
    reader: Reader<'de>,
    rest: std::vec::IntoIter<(&'de Node, &'de Node)>,
    value: Option<&'de Node>,
    /// Whether the keys are names that the administrator gave, which need something behind them.
    named: bool,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Halt;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Halt> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        if self.named && value.value == Value::Null {
            self.reader.of(key).note(FaultKind::EmptyEntry);
        }
        self.value = Some(value);
        seed.deserialize(self.reader.of(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Halt> {
        let value = self.value.take().ok_or_else(|| Halt::Said("a value before its key".to_owned()))?;
        seed.deserialize(self.reader.of(value))
    }
}

struct Choice<'de> {
    reader: Reader<'de>,
    choice: &'de str,
    content: Option<&'de Node>,
}

/// A choice without content may leave out its fields, `kms` for `kms: {}`.
static NO_FIELDS: Node = Node { spot: Spot { line: 0, column: 0, width: 0 }, value: Value::Null };

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Halt;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Halt> {
        let choice = seed.deserialize(StrDeserializer::<Halt>::new(self.choice))?;
        Ok((choice, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Halt;

    fn unit_variant(self) -> Result<(), Halt> {
        match self.content {
            None => Ok(()),
            Some(content) => self.reader.of(content).fields(&[], IgnoredAny).map(|_| ()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Halt> {
        seed.deserialize(self.reader.of(self.content.unwrap_or(&NO_FIELDS)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Halt> {
        self.reader.of(self.content.unwrap_or(&NO_FIELDS)).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, known: &'static [&'static str], visitor: V) -> Result<V::Value, Halt> {
        self.reader.of(self.content.unwrap_or(&NO_FIELDS)).fields(known, visitor)
    }
}
