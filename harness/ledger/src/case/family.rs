//! Which cases are larger than others of their kind: if there is no memory for one case, there is
//! none for any case that outgrows it.

use super::{Case, Workload};

impl Case {
    /// Whether this case is sure to need at least as much memory as `other`: both have the same
    /// scenario, model, formats, placement and backend, and every size is at least as large. Every
    /// case outgrows itself.
    #[must_use]
    pub fn outgrows(&self, other: &Case) -> bool {
        let kind = |case: &Case| {
            let Case { model, dtype, quant, kv, placement, attention, .. } = case;
            let Case { prefix_cache, cuda_graphs, .. } = case;
            let switches = (*prefix_cache, *cuda_graphs);
            let engine = (model.clone(), *dtype, *quant, *kv, attention.clone(), switches);
            (case.scenario().to_owned(), engine, placement.clone())
        };
        let (own, others) = (self.workload.family(), other.workload.family());
        let sizes = |case: &Case, of_workload: Vec<u64>| {
            [vec![case.step_tokens.0, u64::from(case.kv_share.get())], of_workload].concat()
        };
        kind(self) == kind(other)
            && own.0 == others.0
            && sizes(self, own.1).iter().zip(&sizes(other, others.1)).all(|(a, b)| a >= b)
    }
}

impl Workload {
    /// What is done, with everything that is not a size; and the sizes, in a fixed order.
    fn family(&self) -> (String, Vec<u64>) {
        let name = self.name();
        match *self {
            Workload::Load => (name.to_owned(), Vec::new()),
            Workload::Prefill { prompt, batch } => {
                (name.to_owned(), vec![prompt.0, u64::from(batch)])
            }
            Workload::Decode { depth, output, batch } => {
                (name.to_owned(), vec![depth.0, output.0, u64::from(batch)])
            }
            Workload::Generate { prompt, output, batch } => {
                (name.to_owned(), vec![prompt.0, output.0, u64::from(batch)])
            }
            Workload::Context { shallow, depth, output } => {
                (name.to_owned(), vec![shallow.0, depth.0, output.0])
            }
            // Latency targets do not change memory use.
            Workload::Serve { arrival, batch, requests, prompt, output, shared, slo: _ } => (
                format!("{name} {arrival} {shared}"),
                vec![u64::from(batch), u64::from(requests), prompt.most().0, output.most().0],
            ),
            Workload::Idle { duration, requests } => {
                (name.to_owned(), vec![duration.0, u64::from(requests)])
            }
            Workload::Embed { batch, requests, prompt } => {
                (name.to_owned(), vec![u64::from(batch), u64::from(requests), prompt.most().0])
            }
            Workload::Parity { tolerance: _ } => (name.to_owned(), Vec::new()),
            Workload::Quality { prompt, requests, against } => {
                (format!("{name} {against}"), vec![prompt.0, u64::from(requests)])
            }
            Workload::Criterion => (name.to_owned(), Vec::new()),
            Workload::Soak { duration, batch, prompt, output, shared } => (
                format!("{name} {shared}"),
                vec![duration.0, u64::from(batch), prompt.most().0, output.most().0],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::case;
    use super::super::{CaseId, Dtype, KvLayout};
    use super::*;
    use crate::unit::Tokens;

    fn decode(depth: u64, batch: u32) -> Case {
        let workload = Workload::Decode { depth: Tokens(depth), output: Tokens(32), batch };
        Case { workload, ..case(&format!("gate/decode/tiny/batch={batch},depth={depth}")) }
    }

    #[test]
    fn a_case_outgrows_what_is_in_no_size_larger() {
        let base = decode(128, 8);
        assert!(base.outgrows(&base));
        assert!(decode(128, 16).outgrows(&base) && decode(512, 8).outgrows(&base));
        assert!(!decode(64, 8).outgrows(&base));
        assert!(!decode(512, 4).outgrows(&base), "more of one, less of another: nobody knows");
    }

    #[test]
    fn cases_that_differ_in_more_than_sizes_are_no_family() {
        let base = decode(128, 8);
        let changes: [fn(&mut Case); 6] = [
            |case| case.model.name = "other".into(),
            |case| case.dtype = Dtype::Bf16,
            |case| case.kv = KvLayout::Contiguous,
            |case| case.attention = "naive".into(),
            |case| case.id = CaseId("gate/other/tiny/batch=16".into()),
            |case| {
                let Workload::Decode { depth, output, batch } = case.workload else { return };
                case.workload = Workload::Generate { prompt: depth, output, batch };
            },
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = decode(512, 16);
            assert!(other.outgrows(&base));
            change(&mut other);
            assert!(!other.outgrows(&base), "change {i}");
        }
    }

    #[test]
    fn what_changes_results_and_no_memory_is_left_out() {
        let base = decode(128, 8);
        let longer = Case { warmup: 9, seed: 7, ..decode(128, 8) };
        assert!(longer.outgrows(&base) && base.outgrows(&longer));
        let smaller_steps = Case { step_tokens: Tokens(1), ..decode(512, 16) };
        assert!(!smaller_steps.outgrows(&base), "a step holds activations");
    }
}
