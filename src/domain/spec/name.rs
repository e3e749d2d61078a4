/// The longest name, in bytes.
pub(super) const LONGEST_NAME: usize = 64;

/// Whether a text is valid as the name of a spec or a channel.
pub fn is_name(text: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    text.len() <= LONGEST_NAME
        && text.starts_with(|char: char| char.is_ascii_alphanumeric())
        && text.chars().all(is_plain)
}
