//! [`Moe`]: a mixture-of-experts feed-forward block, which routes each token to a few of its
//! experts.
//!
//! Rows are sorted by expert, so that each expert multiplies all of its tokens at once and no
//! weight is ever copied. A token's results are summed in the order of its experts, whatever else
//! is in the batch.

use candle_core::{D, DType, Result as TensorResult, Tensor};

use crate::error::Result;
use crate::layers::linear::Linear;
use crate::layers::mlp::{Mlp, MlpConfig};
use crate::telemetry::{Stage, to_host};
use crate::weights::Weights;

/// The full description of a block of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoeConfig {
    /// Number of experts.
    pub experts: usize,
    /// How many of them each token is routed to.
    pub asked: usize,
    /// How they are weighted.
    pub shares: Shares,
    /// The description of each expert.
    pub expert: MlpConfig,
    /// A shared expert for every token, with its own gate between 0 and 1.
    pub shared: Option<MlpConfig>,
}

impl MoeConfig {
    /// Whether these numbers make sense.
    ///
    /// # Errors
    ///
    /// Describes the one that does not.
    pub fn check(&self) -> Result<(), String> {
        let Self { experts, asked, .. } = self;
        match (1..=*experts).contains(asked) {
            true => Ok(()),
            false => Err(format!("a token cannot be routed to {asked} of {experts} experts")),
        }
    }
}

/// How the chosen experts are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// By their probabilities among all experts.
    OfAll,
    /// By their probabilities among the chosen ones: the weights of a token sum to 1.
    OfAsked,
}

/// A block of experts with its weights.
#[derive(Debug)]
pub struct Moe {
    router: Linear,
    experts: Vec<Mlp>,
    asked: usize,
    shares: Shares,
    /// The shared expert, and its gate before the sigmoid, `[hidden]` to `[1]`.
    shared: Option<(Mlp, Linear)>,
}

/// One token routed to one of its experts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    token: u32,
    expert: usize,
    share: f32,
}

impl Moe {
    /// Reads `gate` and `experts.{n}`, `shared_expert` and `shared_expert_gate`, for rows of width
    /// `hidden`.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub fn load(config: &MoeConfig, hidden: usize, weights: &Weights<'_>) -> Result<Self> {
        let MoeConfig { experts, asked, shares, expert, shared } = config;
        let at = weights.pp("experts");
        let mlp = |index: usize| Mlp::load(expert, hidden, &at.pp(&index.to_string()));
        let shared_of = |config| -> Result<_> {
            let mlp = Mlp::load(config, hidden, &weights.pp("shared_expert"))?;
            Ok((mlp, weights.router("shared_expert_gate", hidden, 1)?))
        };
        Ok(Self {
            router: weights.router("gate", hidden, *experts)?,
            experts: (0..*experts).map(mlp).collect::<Result<_>>()?,
            asked: *asked,
            shares: *shares,
            shared: shared.as_ref().map(shared_of).transpose()?,
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not match the weights.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        Stage::Experts.of(|| self.answered(x))
    }

    fn answered(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let ways = self.ways(x)?;
        let indices = |ids: Vec<u32>| Tensor::new(ids, x.device());

        let mut by_expert: Vec<usize> = (0..ways.len()).collect();
        by_expert.sort_by_key(|&way| ways[way].expert);
        let rows = by_expert.iter().map(|&way| ways[way].token).collect();
        let rows = x.index_select(&indices(rows)?, 0)?;
        let mut outputs = Vec::new();
        let mut first = 0;
        for same in by_expert.chunk_by(|&a, &b| ways[a].expert == ways[b].expert) {
            let expert = &self.experts[ways[same[0]].expert];
            outputs.push(expert.forward(&rows.narrow(0, first, same.len())?)?);
            first += same.len();
        }
        let outputs = Tensor::cat(&outputs, 0)?;

        let mut places = vec![0; ways.len()];
        for (place, &way) in by_expert.iter().enumerate() {
            places[way] = place as u32;
        }
        let shares: Vec<f32> = ways.iter().map(|way| way.share).collect();
        let shares = Tensor::from_vec(shares, (ways.len(), 1), x.device())?.to_dtype(x.dtype())?;
        let outputs = outputs.index_select(&indices(places)?, 0)?.broadcast_mul(&shares)?;
        let sum = outputs.reshape((tokens, self.asked, hidden))?.sum(1)?;
        match &self.shared {
            None => Ok(sum),
            Some((expert, gate)) => {
                let share = candle_nn::ops::sigmoid(&gate.forward(x)?)?;
                sum + expert.forward(x)?.broadcast_mul(&share)?
            }
        }
    }

    /// The routes of all tokens, ordered by token, then by expert.
    fn ways(&self, x: &Tensor) -> TensorResult<Vec<Way>> {
        let scores = self.router.forward(x)?.to_dtype(DType::F32)?;
        let all = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let all: Vec<Vec<f32>> = to_host(&all)?.to_vec2()?;
        let ways = all.iter().zip(0..).flat_map(|(probabilities, token)| {
            let mut experts: Vec<usize> = (0..probabilities.len()).collect();
            experts.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
            experts.truncate(self.asked);
            experts.sort_unstable();
            let total = match self.shares {
                Shares::OfAll => 1.0,
                Shares::OfAsked => experts.iter().map(|&expert| probabilities[expert]).sum(),
            };
            let way = |expert| Way { token, expert, share: probabilities[expert] / total };
            experts.into_iter().map(way).collect::<Vec<_>>()
        });
        Ok(ways.collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::activation::Activation;
    use crate::layers::mlp::MlpForm;
    use crate::placement::Placement;
    use crate::weights::{Bias, Random, Source, Tally};

    const EXPERTS: usize = 6;
    const HIDDEN: usize = 12;

    fn moe(asked: usize, shares: Shares) -> Moe {
        let (placement, tally) = (Placement::cpu(), Tally::default());
        let source = Random::new(3);
        let weights = Weights::new(&source, &placement, DType::F32, &tally);
        let expert = MlpConfig {
            form: MlpForm::GATED,
            intermediate: 10,
            activation: Activation::Silu,
            bias: Bias::Absent,
        };
        Moe::load(
            &MoeConfig { experts: EXPERTS, asked, shares, expert, shared: None },
            HIDDEN,
            &weights,
        )
        .unwrap()
    }

    fn rows(x: &Tensor) -> Vec<Vec<f32>> {
        x.to_vec2().unwrap()
    }

    #[test]
    fn sorted_by_expert_gives_what_a_loop_over_tokens_gives() {
        let x = Random::new(4).tensor("x", &[23, HIDDEN], DType::F32, &Device::Cpu).unwrap();
        let x = (x * 3.0).unwrap();
        for shares in [Shares::OfAll, Shares::OfAsked] {
            for asked in [1, 2, EXPERTS] {
                let moe = moe(asked, shares);
                let found = rows(&moe.forward(&x).unwrap());
                for (token, found) in found.iter().enumerate() {
                    let row = x.narrow(0, token, 1).unwrap();
                    let scores = rows(&moe.router.forward(&row).unwrap()).remove(0);
                    let weights: Vec<f32> = scores.iter().map(|score| score.exp()).collect();
                    let mut best: Vec<usize> = (0..EXPERTS).collect();
                    best.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
                    best.truncate(asked);
                    let total: f32 = match shares {
                        Shares::OfAll => weights.iter().sum(),
                        Shares::OfAsked => best.iter().map(|&expert| weights[expert]).sum(),
                    };
                    let mut expected = vec![0.0; HIDDEN];
                    for expert in best {
                        let output = rows(&moe.experts[expert].forward(&row).unwrap()).remove(0);
                        for (sum, output) in expected.iter_mut().zip(output) {
                            *sum += weights[expert] / total * output;
                        }
                    }
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_does_not_depend_on_the_tokens_beside_it() {
        let x = Random::new(4).tensor("x", &[9, HIDDEN], DType::F32, &Device::Cpu).unwrap();
        let moe = moe(2, Shares::OfAsked);
        let together = rows(&moe.forward(&x).unwrap());
        for (token, expected) in together.iter().enumerate() {
            let alone = moe.forward(&x.narrow(0, token, 1).unwrap()).unwrap();
            assert_eq!(&rows(&alone)[0], expected);
        }
    }
}
