//! The recipe reference in Markdown, made from the schema and so never behind it.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{self, Subject};

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page = "# Recipe reference\n\nWritten by `imgforge recipe reference` from the types that read recipes; \
                    a test keeps it current. What keys are for, with\nexamples, is in [recipes.md](recipes.md). Types \
                    in `<..>` are explained [below](#types).\n\nWhat a tier \
                    inherits it need not repeat, so keys that a tier of its own must have are not all marked as \
                    required: `imgforge\nrecipe check` says which are missing.\n"
        .to_owned();
    for (title, subject) in [("project.toml", Subject::Project), ("&lt;tier&gt;.toml", Subject::Recipe)] {
        let _ = write!(page, "\n## {title}\n\n{}", table(&schema::of(subject)));
    }
    page += "\n## Types\n";
    let mut types = definitions(&schema::of(Subject::Recipe));
    types.extend(definitions(&schema::of(Subject::Project)));
    types.sort();
    types.dedup_by(|one, other| one.0 == other.0);
    for (name, text) in types {
        let _ = write!(page, "\n### {name}\n\n{text}");
    }
    page
}

fn definitions(schema: &Value) -> Vec<(String, String)> {
    let all = schema["$defs"].as_object();
    all.into_iter().flatten().map(|(name, definition)| (name.clone(), definition_text(definition))).collect()
}

fn definition_text(definition: &Value) -> String {
    let about = definition["description"].as_str().map(|text| format!("{}\n", line(text)));
    let mut text = about.unwrap_or_default();
    if definition["properties"].is_object() {
        text += "\n";
        text += &table(definition);
    } else if let Some(choices) = definition["oneOf"].as_array().or_else(|| definition["anyOf"].as_array()) {
        text += "\nOne of:\n\n";
        for choice in choices {
            let about = choice["description"].as_str().map(line).unwrap_or_default();
            let _ = writeln!(text, "- {} {about}", choice_name(choice));
        }
    } else {
        let _ = writeln!(text, "\n{}.", kind(definition));
    }
    // A definition without a description begins with its table.
    text.trim_start_matches('\n').to_owned()
}

/// What stands for a choice in a file: its only key, or its value.
fn choice_name(choice: &Value) -> String {
    match choice["properties"].as_object().map(|keys| keys.iter().collect::<Vec<_>>()) {
        Some(keys) if !keys.is_empty() => {
            let keys: Vec<_> =
                keys.into_iter().map(|(key, value)| format!("`{key}` = {}", kind(value))).collect();
            format!("{}:", keys.join(", "))
        }
        _ => format!("{}:", kind(choice)),
    }
}

fn table(schema: &Value) -> String {
    let mut text = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let default = match &value["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::Object(object) if object.is_empty() => String::new(),
            Value::Array(array) if array.is_empty() => String::new(),
            other => format!("`{other}`"),
        };
        let about = value["description"].as_str().map(line).unwrap_or_default();
        let _ = writeln!(text, "| `{key}` | {} | {default} | {} |", kind(value), about.replace('|', "\\|"));
    }
    text
}

/// A type in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return format!("[&lt;{name}&gt;](#{})", name.to_lowercase());
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    if let Some(choices) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let kinds: Vec<String> = choices.iter().filter(|choice| choice["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let word = match &schema["type"] {
        Value::Array(types) => types.iter().find_map(|word| word.as_str().filter(|word| *word != "null")),
        other => other.as_str(),
    };
    match word.unwrap_or("value") {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" => {
            match schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next()) {
                Some(value) => format!("table of {}", kind(value)),
                None if schema["additionalProperties"].is_object() => {
                    format!("table of {}", kind(&schema["additionalProperties"]))
                }
                None => match schema["properties"].as_object().and_then(|keys| keys.iter().next()) {
                    Some((key, value)) => format!("`{{ {key} = .. }}`, {}", kind(value)),
                    None => "table".to_owned(),
                },
            }
        }
        "string" => match schema["pattern"].as_str() {
            Some(pattern) => format!("text like `{}`", pattern.replace('|', "\\|")),
            None => "text".to_owned(),
        },
        "integer" => "number".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        other => other.to_owned(),
    }
}

/// A description in one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
