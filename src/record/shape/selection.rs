//! Entries of an event chosen by their paths.

use crate::record::path::KeyPath;

/// A selection of a map's entries by key.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// For each key, what is selected of its value; `None` is everything.
    entries: Vec<(String, Option<Selection>)>,
}

impl Selection {
    /// Selects the values at `paths`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a KeyPath>) -> Self {
        let mut selection = Selection::default();
        paths.into_iter().for_each(|path| selection.add(path.keys()));
        selection
    }

    fn add(&mut self, path: &[String]) {
        let Some((key, deeper)) = path.split_first() else { return };
        let position = self.entries.iter().position(|(known, _)| known == key);
        match position.and_then(|position| self.entries.get_mut(position)) {
            // A shorter path already selects everything that a longer one would.
            Some((_, None)) => {}
            Some((_, whole)) if deeper.is_empty() => *whole = None,
            Some((_, Some(selection))) => selection.add(deeper),
            None => {
                let mut selection = (!deeper.is_empty()).then(Selection::default);
                if let Some(selection) = &mut selection {
                    selection.add(deeper);
                }
                self.entries.push((key.clone(), selection));
            }
        }
    }

    /// What is selected of the value under `key`: `None` is nothing, `Some(None)` everything.
    pub(crate) fn of(&self, key: &[u8]) -> Option<Option<&Selection>> {
        self.entries.iter().find(|(known, _)| known.as_bytes() == key).map(|(_, selection)| selection.as_ref())
    }

    /// Whether the whole value at `path` is selected.
    pub fn holds(&self, path: &[String]) -> bool {
        let Some((key, deeper)) = path.split_first() else { return false };
        match self.of(key.as_bytes()) {
            Some(None) => true,
            Some(Some(selection)) => selection.holds(deeper),
            None => false,
        }
    }
}
