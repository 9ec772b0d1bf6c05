//! The words that plant faults.

use super::{Fault, Measure};

/// Most per cent, or mebibytes: a tebibyte.
const MOST: f64 = 1_048_576.0;

/// The amount of each fault, in the order of [`Fault::ALL`]; 0 if it is not planted.
pub(super) type Amounts = [f64; Fault::ALL.len()];

/// Why words plant nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplantable {
    /// No fault has this name, or this amount is not possible.
    #[error("`{word}` plants nothing; faults are {}", known())]
    Unknown {
        /// The word.
        word: String,
    },
    /// Faults last for the life of a process.
    #[error("faults were planted in this process already")]
    Twice,
}

/// Every word that plants a fault, as it is typed.
fn known() -> String {
    let word = |fault: &Fault| match fault.measure() {
        Measure::Whole => fault.name().to_owned(),
        Measure::Percent => format!("{}=PERCENT", fault.name()),
        Measure::Mebibytes => format!("{}=MEBIBYTES", fault.name()),
    };
    Fault::ALL.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The amount of each fault that `words` ask for.
///
/// # Errors
///
/// [`Unplantable::Unknown`] with the first word that plants nothing.
pub(super) fn read(words: &str) -> Result<Amounts, Unplantable> {
    let mut amounts = [0.0; Fault::ALL.len()];
    for word in words.split_whitespace() {
        let (name, amount) = word.split_once('=').unzip();
        let name = name.unwrap_or(word);
        let place = Fault::ALL.iter().position(|fault| fault.name() == name);
        let measure = place.map(|place| Fault::ALL[place].measure());
        let amount = match (measure, amount.map(str::parse::<f64>)) {
            (Some(Measure::Whole), None) => Some(1.0),
            (Some(Measure::Percent | Measure::Mebibytes), Some(Ok(amount))) => Some(amount),
            _ => None,
        };
        match place.zip(amount.filter(|amount| *amount > 0.0 && *amount <= MOST)) {
            Some((place, amount)) => amounts[place] = amount,
            None => return Err(Unplantable::Unknown { word: word.to_owned() }),
        }
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(words: &str) -> Vec<(&'static str, f64)> {
        let all = Fault::ALL.iter().map(|fault| fault.name()).zip(read(words).unwrap());
        all.filter(|(_, amount)| *amount > 0.0).collect()
    }

    #[test]
    fn words_plant_faults_and_others_are_refused_with_the_list() {
        assert_eq!(planted(""), []);
        assert_eq!(
            planted("decode=2.5 lost-mmap\nmebibytes=64"),
            [("lost-mmap", 1.0), ("decode", 2.5), ("mebibytes", 64.0)]
        );
        for word in
            ["deocde=5", "decode", "decode=much", "decode=0", "mebibytes=1e30", "lost-mmap=1", "="]
        {
            let complaint = read(word).unwrap_err().to_string();
            let begins = format!("`{word}` plants nothing; faults are recompute-thrash, ");
            assert!(complaint.starts_with(&begins), "{complaint}");
            assert!(complaint.ends_with("mebibytes=MEBIBYTES, wrong-token"), "{complaint}");
        }
        let twice = Unplantable::Twice.to_string();
        assert_eq!(twice, "faults were planted in this process already");
    }
}
