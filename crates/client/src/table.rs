//! Tables of figures, and as much of them as a terminal has room for.

use comfy_table::{CellAlignment, Table, presets};

/// Figures in rows and columns.
#[derive(Clone, Debug)]
pub struct Figures<'a> {
    /// What the columns are called.
    pub header: &'a [&'a str],
    /// How many of the columns are names, and not figures.
    pub names: usize,
    /// The columns that can be left out where there is no room for them: the first of them first.
    pub expendable: &'a [&'a str],
    /// The rows, a cell for each column.
    pub rows: Vec<Vec<String>>,
}

/// A table that is ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted<'a> {
    /// Its lines; the last one does not end with a line feed.
    pub text: String,
    /// The columns that were left out.
    pub left_out: &'a [&'a str],
    /// How wide the table would be with them.
    whole: usize,
}

impl<'a> Figures<'a> {
    /// The table, without as many of the expendable columns as it must do without to fit `width`.
    pub fn fit(&self, width: Option<usize>) -> Fitted<'a> {
        let mut text = self.without(&[]);
        let whole = width_of(&text);
        let mut left_out = &self.expendable[..0];
        while width.is_some_and(|width| width_of(&text) > width)
            && left_out.len() < self.expendable.len()
        {
            left_out = &self.expendable[..=left_out.len()];
            text = self.without(left_out);
        }
        Fitted { text, left_out, whole }
    }

    fn without(&self, left_out: &[&str]) -> String {
        let stays = |column: &usize| !left_out.contains(&self.header[*column]);
        let columns: Vec<_> = (0..self.header.len()).filter(stays).collect();
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(columns.iter().map(|&column| self.header[column]));
        for column in table.column_iter_mut().skip(self.names) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            table.add_row(columns.iter().map(|&column| row[column].as_str()));
        }
        table.to_string()
    }
}

impl Fitted<'_> {
    /// What the columns are, without those that were left out. A line of `legend` is a name, or some with commas between
    /// them, and from the column `indent` on what it means.
    pub fn legend(&self, legend: &str, indent: usize, width: Option<usize>) -> String {
        let is_shown = |line: &&str| {
            let (names, _) = line.split_at_checked(indent).unwrap_or((line, ""));
            !names.split(',').all(|name| self.left_out.contains(&name.trim()))
        };
        let lines: Vec<_> = legend.lines().filter(is_shown).collect();
        let mut text = wrap(&lines.join("\n"), indent, width);
        if !self.left_out.is_empty() {
            let (left_out, whole) = (self.left_out.join(", "), self.whole);
            let line = format!("There is no room for {left_out}: --columns {whole} shows all.");
            text += &format!("\n\n{}", wrap(&line, 0, width));
        }
        text
    }
}

fn width_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

/// Breaks lines that are longer than `width`; what follows a break is indented.
pub fn wrap(text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let indent = " ".repeat(indent);
    // What is indented needs some room too, on the narrowest of terminals.
    let options = textwrap::Options::new(width.max(indent.len() + 20)).subsequent_indent(&indent);
    let lines: Vec<_> = text.lines().map(|line| textwrap::fill(line, &options)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGEND: &str = "\
        one, two  what these\n\
        \x20         two are\n\
        three     what this one is, and a few words more about it";

    fn figures() -> Figures<'static> {
        Figures {
            header: &["name", "one", "two", "three"],
            names: 1,
            expendable: &["three", "one"],
            rows: vec![["a name", "1", "22", "333"].map(str::to_owned).to_vec()],
        }
    }

    #[test]
    fn without_a_width_it_is_whole() {
        let whole = figures().fit(None);
        assert_eq!(
            whole.text,
            "| name   | one | two | three |\n|--------|-----|-----|-------|\n| a name |   1 |  22 |   333 |"
        );
        assert!(whole.left_out.is_empty());
        assert_eq!(figures().fit(Some(30)), whole, "it just fits");
        assert_eq!(whole.legend(LEGEND, 10, None), LEGEND);
    }

    #[test]
    fn no_more_is_left_out_than_must_be() {
        assert_eq!(figures().fit(Some(29)).left_out, ["three"]);
        assert_eq!(figures().fit(Some(22)).left_out, ["three"]);
        let narrow = figures().fit(Some(21));
        assert_eq!(narrow.left_out, ["three", "one"]);
        assert!(narrow.text.starts_with("| name   | two |\n"), "{}", narrow.text);
        assert_eq!(figures().fit(Some(1)), narrow, "there is nothing else to leave out");
    }

    #[test]
    fn a_legend_is_of_what_is_shown_and_no_wider() {
        let legend = figures().fit(Some(29)).legend(LEGEND, 10, Some(30));
        let expected = "one, two  what these\n          two are\n\n\
             There is no room for three:\n--columns 30 shows all.";
        assert_eq!(legend, expected);
        let all = figures().fit(Some(31)).legend(LEGEND, 10, Some(31));
        assert!(
            all.ends_with(
                "three     what this one is, and\n          a few words more\n          about it"
            ),
            "{all}"
        );
    }
}
