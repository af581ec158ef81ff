//! A block record by record, in the order of time: what a record says is made out when it is asked for.
//!
//! In: a block of which the outline is known. Out: its records, those of one time in the order of their CPUs.
//! Must not know: what they mean.

use std::fmt;
use std::ops::Range;

use tracer_common::record::{Switch, kind};

use super::Decoder;
use super::coder::Unpacking;
use super::items::{Head, Items, header_of, what};
use super::layouts::{LAYOUTS, store_header};

/// A record, or none of it where the block is damaged.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    Switch(&'a Switch),
    Bytes(&'a [u8]),
}

pub struct Run {
    decoder: Decoder,
    /// In the order in which they are made out: that of time, and of one time as they were pushed.
    heads: Vec<Head>,
    /// How many of them are.
    made: usize,
    /// Those of one time that are not in the order of their CPUs; the first ones last.
    tied: Vec<Range<usize>>,
    /// Of such, what is still to be told; the next one last.
    ready: Vec<(u16, Vec<u8>)>,
    /// Records before this one are told as they are made out.
    plain_until: usize,
    switch: Switch,
    bytes: Vec<u8>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({} of {})", self.made, self.heads.len())
    }
}

/// Whether the records of a block can be told in the order of time, and then its advances: each is known, and none
/// is older than an advance before it, but for histories.
pub fn is_orderly(heads: &[Head]) -> bool {
    let mut advanced = 0;
    heads.iter().all(|head| match head.what {
        what::RAW => false,
        what::ADVANCE => {
            advanced = head.at_ns.max(advanced);
            true
        }
        _ => head.at_ns >= advanced || is_history(head),
    })
}

/// It is told when it comes, whatever its time is. Nothing else is foretold from it, nor it from anything else.
fn is_history(head: &Head) -> bool {
    head.what >= what::OTHERS && {
        let layout = &LAYOUTS[usize::from(head.what - what::OTHERS)];
        layout.kind == kind::LEFT && layout.stands_alone()
    }
}

impl Run {
    /// The records of an orderly block that the decoder has begun; and what is told after that, in this order.
    /// `None`: the block is not what an encoder makes.
    pub fn new(mut decoder: Decoder, rest: &mut Items) -> Option<Run> {
        let mut heads = std::mem::take(&mut decoder.heads);
        let later = heads.extract_if(.., |head| head.what == what::ADVANCE || is_history(head));
        decoder.heads.extend(later);
        decoder.decode_heads(rest)?;
        heads.sort_by_key(|head| head.at_ns);
        let mut run = Run {
            decoder,
            made: 0,
            tied: tied(&heads),
            heads,
            ready: Vec::new(),
            plain_until: 0,
            switch: Switch::default(),
            bytes: Vec::new(),
        };
        run.look_ahead();
        // Where there is no record, nobody else would tell.
        (!run.is_damaged()).then_some(run)
    }

    /// Time and CPU of the next record.
    #[inline]
    pub fn front(&self) -> Option<(u64, u16)> {
        if self.made >= self.plain_until {
            return self.tied_front();
        }
        let head = self.heads.get(self.made)?;
        Some((head.at_ns, head.cpu))
    }

    /// The time of the last record.
    pub fn end(&self) -> u64 {
        self.heads.last().map_or(0, |head| head.at_ns)
    }

    /// The next record.
    #[inline]
    pub fn take_next(&mut self) -> Record<'_> {
        if self.made >= self.plain_until {
            return self.next_tied();
        }
        let Some(&head) = self.heads.get(self.made) else {
            return Record::Bytes(&[]);
        };
        self.make(head);
        if self.is_damaged() {
            return Record::Bytes(&[]);
        }
        match head.what {
            what::SWITCH => Record::Switch(&self.switch),
            _ => Record::Bytes(&self.bytes),
        }
    }

    /// As far as that can be known by now.
    #[inline(always)]
    fn is_damaged(&self) -> bool {
        let unpacker = &self.decoder.unpacker;
        unpacker.is_short() || (self.made == self.heads.len() && !unpacker.is_used_up())
    }

    fn look_ahead(&mut self) {
        let tied = self.tied.last().map(|tied| tied.start);
        self.plain_until = tied.unwrap_or(self.heads.len());
    }

    #[cold]
    fn tied_front(&self) -> Option<(u64, u16)> {
        if let Some(&(cpu, _)) = self.ready.last() {
            return Some((self.heads[self.made - 1].at_ns, cpu));
        }
        let tied = self.heads.get(self.tied.last()?.clone())?;
        let cpu = tied.iter().map(|head| head.cpu).min()?;
        Some((tied.first()?.at_ns, cpu))
    }

    #[cold]
    fn next_tied(&mut self) -> Record<'_> {
        if self.ready.is_empty() {
            self.untie();
        }
        self.bytes = self.ready.pop().unwrap_or_default().1;
        if self.ready.is_empty() {
            self.look_ahead();
        }
        Record::Bytes(&self.bytes)
    }

    /// Makes out the next one: a switch as such, what is none as bytes.
    #[inline(always)]
    fn make(&mut self, head: Head) {
        self.made += 1;
        let Decoder {
            state, unpacker, ..
        } = &mut self.decoder;
        let mut coder = Unpacking { unpacker };
        if head.what == what::SWITCH {
            self.switch.header = header_of(head);
            state
                .switches
                .code(&mut coder, &mut state.threads, &mut self.switch);
        } else {
            self.bytes.clear();
            self.bytes.resize(head.length.into(), 0);
            store_header(&header_of(head), &mut self.bytes);
            state.others(&mut coder, head, &mut self.bytes);
        }
    }

    /// All of one time, in the order of their CPUs; none of them where that is damaged.
    fn untie(&mut self) {
        for at in self.tied.pop().unwrap_or_default() {
            let head = self.heads[at];
            self.make(head);
            if head.what == what::SWITCH {
                let mut bytes = [0; Switch::BYTES];
                self.switch.write_to(&mut bytes);
                self.ready.push((head.cpu, bytes.to_vec()));
            } else {
                self.ready.push((head.cpu, self.bytes.clone()));
            }
        }
        if self.is_damaged() {
            self.ready.iter_mut().for_each(|(_, bytes)| bytes.clear());
        }
        self.ready.sort_by_key(|&(cpu, _)| cpu);
        self.ready.reverse();
    }
}

/// Where several are of one time and not in the order of their CPUs, from the last ones on.
fn tied(heads: &[Head]) -> Vec<Range<usize>> {
    let mut tied = Vec::new();
    let mut end = heads.len();
    while end > 0 {
        let of_one_time = heads[..end].iter().rev();
        let of_one_time = of_one_time.take_while(|head| head.at_ns == heads[end - 1].at_ns);
        let start = end - of_one_time.count();
        if !heads[start..end].is_sorted_by_key(|head| head.cpu) {
            tied.push(start..end);
        }
        end = start;
    }
    tied
}
