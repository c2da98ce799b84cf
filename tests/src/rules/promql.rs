//! The names in a `PromQL` expression: as much of its grammar as tells metrics, labels and functions apart.
//!
//! Whether an expression is sound is for promtool to say. A metric must be selected by its name, not by a
//! matcher of `__name__`.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::CharIndices;

use anyhow::{Context as _, bail};

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Metrics, each with the labels that it is selected by.
    pub selectors: Vec<(String, Vec<String>)>,
    /// Labels that series are grouped or matched by.
    pub grouping: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Mark(char),
}

/// Words that a list of labels follows.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are neither metrics nor functions.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// Reads an expression.
pub fn names(expression: &str) -> anyhow::Result<Names> {
    let tokens = tokens(expression)?;
    let mut names = Names::default();
    let mut rest = &tokens[..];
    while let Some((&token, after)) = rest.split_first() {
        rest = after;
        let next = rest.first().copied();
        match token {
            Token::Word(word) if LISTS.contains(&word) => {
                if next == Some(Token::Mark('(')) {
                    let labels;
                    (labels, rest) = words_up_to(')', rest)?;
                    names.grouping.extend(labels);
                }
            }
            Token::Word(word) if OPERATORS.contains(&word) => {}
            // A function, or an aggregation whose labels come first.
            Token::Word(_) if matches!(next, Some(Token::Mark('(') | Token::Word("by" | "without"))) => {}
            Token::Word(metric) => {
                let mut labels = Vec::new();
                if next == Some(Token::Mark('{')) {
                    (labels, rest) = words_up_to('}', rest)?;
                }
                names.selectors.push((metric.to_owned(), labels));
            }
            Token::Mark('{') => bail!("a metric without a name in {expression}"),
            Token::Mark(_) => {}
        }
    }
    Ok(names)
}

/// The words before a closing mark, and what comes after it.
fn words_up_to<'a, 'b>(
    close: char,
    tokens: &'b [Token<'a>],
) -> anyhow::Result<(Vec<String>, &'b [Token<'a>])> {
    let end = tokens.iter().position(|&token| token == Token::Mark(close)).context("no end of a list")?;
    let words = tokens[..end].iter().filter_map(|token| match token {
        Token::Word(word) => Some((*word).to_owned()),
        Token::Mark(_) => None,
    });
    Ok((words.collect(), &tokens[end + 1..]))
}

/// Words and marks; numbers, durations, strings and comments are left out.
fn tokens(expression: &str) -> anyhow::Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut characters = expression.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        match character {
            '"' | '\'' | '`' => skip_string(&mut characters, character)?,
            '#' => while characters.next_if(|&(_, next)| next != '\n').is_some() {},
            '[' => while characters.next().context("no end of a range")?.1 != ']' {},
            _ if character.is_ascii_digit() => {
                while characters.next_if(|&(_, next)| next.is_ascii_alphanumeric() || next == '.').is_some() {
                }
            }
            _ if is_of_word(character) => {
                while characters.next_if(|&(_, next)| is_of_word(next)).is_some() {}
                let end = characters.peek().map_or(expression.len(), |&(end, _)| end);
                tokens.push(Token::Word(&expression[start..end]));
            }
            _ if character.is_whitespace() => {}
            _ => tokens.push(Token::Mark(character)),
        }
    }
    Ok(tokens)
}

const fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | ':')
}

fn skip_string(characters: &mut Peekable<CharIndices<'_>>, quote: char) -> anyhow::Result<()> {
    loop {
        match characters.next().context("no end of a string")?.1 {
            '\\' if quote != '`' => {
                characters.next();
            }
            character if character == quote => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn metrics_and_labels_are_told_from_functions_and_text() -> anyhow::Result<()> {
        let expression = r#"
            histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{role="x{y}", way!~'\'(z'}[5m] offset 1h)))
            / on (server) group_left () (max without (pid) (rule:b:p99) > bool 1e6)  # c
            unless sum(d) by (e) or -f"#;
        let names = names(expression)?;
        let selectors =
            [("a_bucket", &["role", "way"][..]), ("rule:b:p99", &[][..]), ("d", &[][..]), ("f", &[][..])];
        let selectors = selectors.map(|(metric, labels)| {
            (metric.to_owned(), labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>())
        });
        assert_eq!(names.selectors, selectors);
        assert!(names.grouping.iter().eq(["e", "job", "le", "pid", "server"]), "{:?}", names.grouping);
        Ok(())
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        for expression in [r#"{__name__=~"a|b"}"#, r#"a{b="c"#, "sum by (a", "rate(a[5m"] {
            assert!(names(expression).is_err(), "{expression}");
        }
    }
}
