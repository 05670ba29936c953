//! The boot as lanes over time: on one side the start-up IPI, the start and the online state of each CPU; on the other the
//! stages of its bring-up, which take a hundredth of that time under most accelerators.

use octopod::wire::{Cpu, StagesUs};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::base::numbers::time;
use crate::present::pictures::canvas::{
    Area, Drawn, Format, Picture, PictureError, draw, key, key_height, letters, words,
};
use crate::present::pictures::lanes::{Lane, Spread, lanes};
use crate::present::pictures::palette::{FAINT, GRID, IDLE, INK, PAPER, WRONG, series};
use crate::report::Report;

/// Room for the lanes' names, in pixels.
const NAMES: i32 = 74;

/// Room for the length of what does not fit, in pixels.
const BEYOND: i32 = 58;

/// Room for an axis and its name.
const AXIS: i32 = 40;

/// The index of the first stage in which a CPU runs itself, among all: before that it is waited for.
const FIRST_OWN_STAGE: usize = 1;

type CpuLane<'a> = Lane<&'a Cpu<String>>;

fn stage_names() -> [&'static str; 9] {
    StagesUs::default().in_order().map(|(name, _)| name)
}

/// The colour of the time that begins when a stage is reached.
fn stage_colour(stage: usize) -> RGBColor {
    if stage < FIRST_OWN_STAGE { IDLE } else { series(stage - FIRST_OWN_STAGE) }
}

fn at(cpu: &Cpu<String>, stage: usize) -> Option<u64> {
    cpu.stages_us.in_order()[stage].1
}

/// The time from a CPU's first instruction to a stage.
fn own(cpu: &Cpu<String>, stage: usize) -> Option<u64> {
    Some(at(cpu, stage)?.saturating_sub(at(cpu, FIRST_OWN_STAGE)?))
}

/// An axis of time: its beginning, its end, and a name.
struct Span {
    from: u64,
    to: u64,
    name: String,
}

impl Span {
    /// The axis of the calls: from the first that was sent to the last CPU online.
    fn of_calls(cpus: &[Cpu<String>]) -> Span {
        let stamps = || cpus.iter().flat_map(|cpu| (0..9).filter_map(|stage| at(cpu, stage)));
        let first_call = cpus.iter().filter_map(|cpu| at(cpu, 0)).min();
        let from = first_call.or_else(|| stamps().min()).unwrap_or(0);
        let last = stamps().max().unwrap_or(0).max(from + 1);
        let to = last + (last - from) / 40 + 1;
        Span { from, to, name: format!("since the first start-up IPI, {} after entry", time(from as f64)) }
    }

    /// The axis of the CPUs' own stages. A few that a host kept waiting must not make all others invisible.
    fn of_stages(lanes: &[CpuLane<'_>]) -> Span {
        let total = |cpu: &&Cpu<String>| (0..9).filter_map(|stage| own(cpu, stage)).max();
        let of_lane = |lane: &CpuLane<'_>| Spread::of(lane.members.iter().filter_map(total));
        let lanes: Vec<Spread> = lanes.iter().filter_map(of_lane).collect();
        let longest = lanes.iter().map(|spread| spread.max).max().unwrap_or(1).max(1);
        let mut usual: Vec<u64> = lanes.iter().map(|spread| spread.median).collect();
        usual.sort_unstable();
        let most = usual.get(usual.len() * 3 / 4).copied().unwrap_or(1).max(1);
        let to = if longest > 4 * most { 2 * most } else { longest };
        Span { from: 0, to: to + 1, name: "since the CPU's first instruction".to_owned() }
    }
}

/// The picture; none where no CPU was reported.
pub(crate) fn picture(report: &Report) -> Result<Option<Picture>, PictureError> {
    if report.cpus.is_empty() {
        return Ok(None);
    }
    let lanes = lanes(report.cpus.iter().map(|cpu| (cpu.cpu, cpu)));
    let grouped = lanes.len() < report.cpus.len();
    let names = stage_names();
    let key_names: Vec<_> = (0..8).map(|stage| (stage_colour(stage), names[stage])).collect();
    let height_of_lane = if grouped { 28 } else { 20 };
    let panel = lanes.len() as i32 * height_of_lane + AXIS + 26;
    let key_of = |format: Format| key_height(format.width() - 20, &key_names) as i32;
    let height = |format| match format {
        Format::Wide => panel + key_of(format) + 16,
        Format::Narrow => 2 * panel + key_of(format) + 16,
    };
    let mut legend = "Called, awake, online: grey while the CPU is waited for, then from its first instruction until \
                      it takes work. The same end again at a scale of its own: a colour lasts from the stage that it \
                      is named for to the next. What does not fit ends with its length."
        .to_owned();
    if grouped {
        legend.push_str(&format!(
            " Each lane stands for {} CPUs: bars are medians, thin lines go from the first to the last that was online.",
            lanes[0].members.len()
        ));
    }
    draw(
        "boot",
        "The boot, CPU by CPU",
        legend,
        |format| height(format) as u32,
        |area, format| {
            let used = key(&area.margin(0, 0, 10, 10), (0, 14), &key_names)?;
            let (_, below) = area.split_vertically(used + 10);
            let (calls, stages) = match format {
                Format::Wide => below.split_horizontally(below.dim_in_pixel().0 as i32 / 2),
                Format::Narrow => below.split_vertically(panel),
            };
            let board = Board { lanes: &lanes, lane_height: height_of_lane };
            board.calls(&calls, &Span::of_calls(&report.cpus))?;
            board.stages(&stages, &Span::of_stages(&lanes))
        },
    )
}

struct Board<'a> {
    lanes: &'a [CpuLane<'a>],
    lane_height: i32,
}

/// One of the two halves, with its scale.
struct Half<'a, 'b> {
    area: &'a Area<'b>,
    span: &'a Span,
    width: i32,
}

impl Half<'_, '_> {
    /// A time's place, in pixels; what is beyond the end stands at the end.
    fn x(&self, us: u64) -> i32 {
        let part = us.saturating_sub(self.span.from) as f64 / (self.span.to - self.span.from) as f64;
        NAMES + (part.min(1.0) * f64::from(self.width)) as i32
    }

    fn bar(&self, from: u64, to: u64, top: i32, bottom: i32, colour: RGBColor) -> Drawn {
        let (left, right) = (self.x(from), self.x(to));
        // However short, it was there.
        let right = right.max(left + i32::from(to > from));
        if right > left {
            self.area.draw(&Rectangle::new([(left, top), (right, bottom)], colour.filled()))?;
        }
        Ok(())
    }

    /// From the least to the greatest, with an end at each that fits.
    fn whisker(&self, spread: &Spread, bottom: i32) -> Drawn {
        let ends = [self.x(spread.min), self.x(spread.max).max(self.x(spread.min) + 1)];
        self.area.draw(&PathElement::new(ends.map(|x| (x, bottom - 3)), INK))?;
        for (x, at) in ends.into_iter().zip([spread.min, spread.max]) {
            if at <= self.span.to {
                self.area.draw(&PathElement::new([(x, bottom - 6), (x, bottom)], INK))?;
            }
        }
        Ok(())
    }
}

impl Board<'_> {
    fn bottom(&self) -> i32 {
        26 + self.lanes.len() as i32 * self.lane_height
    }

    fn top(&self, place: usize) -> i32 {
        26 + place as i32 * self.lane_height
    }

    /// Frame, scale and names.
    fn half<'a, 'b>(
        &self,
        area: &'a Area<'b>,
        span: &'a Span,
        title: &str,
    ) -> Result<Half<'a, 'b>, Box<dyn std::error::Error>> {
        let width = area.dim_in_pixel().0 as i32 - NAMES - BEYOND;
        let half = Half { area, span, width };
        words(area, title, (NAMES, 12), letters(13.0), HPos::Left)?;
        let in_ms = span.to - span.from >= 10_000;
        let unit = if in_ms { 1000.0 } else { 1.0 };
        let (from, to) = (0.0, (span.to - span.from) as f64 / unit);
        let step = step((to - from) / f64::from((width / 62).max(2)));
        let mut tick = 0.0;
        while tick <= to {
            let x = half.x(span.from + (tick * unit) as u64);
            area.draw(&PathElement::new([(x, 24), (x, self.bottom() + 4)], GRID))?;
            let text = if step < 1.0 { format!("{tick:.1}") } else { format!("{tick:.0}") };
            words(area, &text, (x, self.bottom() + 13), letters(11.0).color(&FAINT), HPos::Center)?;
            tick += step;
        }
        let name = format!("{}, {}", if in_ms { "ms" } else { "µs" }, span.name);
        words(
            area,
            &name,
            (NAMES + width / 2, self.bottom() + 29),
            letters(11.0).color(&FAINT),
            HPos::Center,
        )?;
        for (place, lane) in self.lanes.iter().enumerate() {
            let middle = self.top(place) + self.lane_height / 2;
            words(area, &lane.label(), (NAMES - 8, middle), letters(11.0), HPos::Right)?;
        }
        Ok(half)
    }

    fn calls(&self, area: &Area<'_>, span: &Span) -> Drawn {
        let half = self.half(area, span, "Called, awake, online")?;
        for (place, lane) in self.lanes.iter().enumerate() {
            let (top, middle) = (self.top(place) + 3, self.top(place) + self.lane_height / 2);
            let bottom = self.top(place) + self.lane_height - 3;
            let spread = |stage| Spread::of(lane.members.iter().filter_map(|cpu| at(cpu, stage)));
            let called = lane.members.iter().filter(|cpu| at(cpu, 0).is_some());
            let online = Spread::of(called.filter_map(|cpu| at(cpu, 8)));
            let grouped = lane.members.len() > 1;
            let low = if grouped { bottom - 9 } else { bottom };
            if let Some(sent) = spread(0) {
                let awake = spread(1).map_or(span.to, |awake| awake.median);
                half.bar(sent.median, awake, top, low, IDLE)?;
                if let Some(online) = online {
                    half.bar(awake, online.median.max(awake + 1), top, low, INK)?;
                    if grouped {
                        half.whisker(&online, bottom)?;
                    }
                }
            }
            let missing: Vec<_> = lane.members.iter().filter(|cpu| cpu.state != "online").collect();
            let beside = (NAMES + 4, middle);
            match (missing.as_slice(), lane.members.as_slice()) {
                ([cpu], [_]) => {
                    let last = cpu.failed_stage.as_ref().map(|stage| format!(", last seen in {stage}"));
                    let text = format!("{}{}", cpu.state.replace('_', " "), last.unwrap_or_default());
                    wrong(area, &text, beside)?;
                }
                ([], [cpu]) if at(cpu, 0).is_none() => {
                    words(area, "calls the others", beside, letters(11.0).color(&FAINT), HPos::Left)?;
                }
                ([], _) => {}
                (missing, _) => {
                    let text = format!("{} not online", missing.len());
                    wrong(area, &text, beside)?;
                }
            }
        }
        Ok(())
    }

    fn stages(&self, area: &Area<'_>, span: &Span) -> Drawn {
        let half = self.half(area, span, "Each CPU's own stages")?;
        for (place, lane) in self.lanes.iter().enumerate() {
            let (top, lane_bottom) = (self.top(place) + 3, self.top(place) + self.lane_height - 3);
            let grouped = lane.members.len() > 1;
            let bottom = if grouped { top + 11 } else { lane_bottom };
            let spread = |stage| Spread::of(lane.members.iter().filter_map(|cpu| own(cpu, stage)));
            let reached: Vec<_> =
                (FIRST_OWN_STAGE..9).filter_map(|stage| Some((stage, spread(stage)?))).collect();
            for pair in reached.windows(2) {
                half.bar(pair[0].1.median, pair[1].1.median, top, bottom, stage_colour(pair[0].0))?;
            }
            if let Some((_, last)) = reached.last().filter(|_| grouped) {
                half.whisker(last, lane_bottom)?;
            }
            if let Some((_, last)) = reached.last().filter(|(_, last)| last.max > span.to) {
                let beyond = format!("▸ {}", time(last.max as f64));
                let edge = (NAMES + half.width + 4, (top + bottom) / 2);
                words(area, &beyond, edge, letters(10.0), HPos::Left)?;
            }
        }
        Ok(())
    }
}

/// A failure, on a background of its own: there may be a bar below it.
fn wrong(area: &Area<'_>, text: &str, (x, y): (i32, i32)) -> Drawn {
    let width = text.chars().count() as i32 * 6 + 8;
    area.draw(&Rectangle::new([(x - 2, y - 7), (x + width, y + 7)], PAPER.filled()))?;
    words(area, text, (x + 2, y), letters(11.0).color(&WRONG), HPos::Left)
}

/// The next round step that is no smaller.
pub(super) fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(0.1).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|round| round * power)
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}
