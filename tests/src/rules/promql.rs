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
    /// Labels that `label_replace` and `label_join` make.
    pub made: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// What stands between quotes.
    Text(&'a str),
    Mark(char),
}

/// Words that a list of labels follows.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are neither metrics nor functions.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
/// Functions whose second argument is a label that their results have.
const MAKERS: [&str; 2] = ["label_replace", "label_join"];

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
            Token::Word(word) if MAKERS.contains(&word) => {
                names
                    .made
                    .insert(made(rest).with_context(|| format!("{word} without a label: {expression}"))?);
            }
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
            Token::Text(_) | Token::Mark(_) => {}
        }
    }
    Ok(names)
}

/// The label that a function makes: the text behind its first argument, whatever that is.
fn made(arguments: &[Token<'_>]) -> Option<String> {
    let mut depth = 0_usize;
    for (at, token) in arguments.iter().enumerate() {
        match token {
            Token::Mark('(' | '{') => depth += 1,
            Token::Mark(')' | '}') => depth = depth.checked_sub(1)?,
            Token::Mark(',') if depth == 1 => {
                let Token::Text(label) = arguments.get(at + 1)? else { return None };
                return Some((*label).to_owned());
            }
            _ => {}
        }
    }
    None
}

/// The words before a closing mark, and what comes after it.
fn words_up_to<'a, 'b>(
    close: char,
    tokens: &'b [Token<'a>],
) -> anyhow::Result<(Vec<String>, &'b [Token<'a>])> {
    let end = tokens.iter().position(|&token| token == Token::Mark(close)).context("no end of a list")?;
    let words = tokens[..end].iter().filter_map(|token| match token {
        Token::Word(word) => Some((*word).to_owned()),
        Token::Text(_) | Token::Mark(_) => None,
    });
    Ok((words.collect(), &tokens[end + 1..]))
}

/// Words, texts and marks; numbers, durations and comments are left out.
fn tokens(expression: &str) -> anyhow::Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut characters = expression.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        match character {
            '"' | '\'' | '`' => {
                let end = skip_string(&mut characters, character)?;
                tokens.push(Token::Text(&expression[start + 1..end]));
            }
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

/// Steps behind the quote that ends a string, and says where that stands.
fn skip_string(characters: &mut Peekable<CharIndices<'_>>, quote: char) -> anyhow::Result<usize> {
    loop {
        match characters.next().context("no end of a string")? {
            (_, '\\') if quote != '`' => {
                characters.next();
            }
            (end, character) if character == quote => return Ok(end),
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
    fn labels_that_a_function_makes_are_told() -> anyhow::Result<()> {
        let names = names(r#"label_replace(sum by (b, c) (rate(a{b!=""}[5m])), "d", "$1", "b", "(.*)")"#)?;
        assert_eq!(names.selectors, [("a".to_owned(), vec!["b".to_owned()])]);
        assert!(names.grouping.iter().eq(["b", "c"]), "{:?}", names.grouping);
        assert!(names.made.iter().eq(["d"]), "{:?}", names.made);
        Ok(())
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        for expression in [r#"{__name__=~"a|b"}"#, r#"a{b="c"#, "sum by (a", "rate(a[5m", "label_replace(a)"]
        {
            assert!(names(expression).is_err(), "{expression}");
        }
    }
}
