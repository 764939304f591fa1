//! What each participant should have at the end, and has not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::publisher::OwnTrack;
use super::stay::{Arrived, Sight};

/// Compares what everybody sees with what everybody publishes; returns what is wrong, in sentences.
pub(crate) fn faults_of(sights: &[Sight]) -> Vec<String> {
    let mut faults = Vec::new();
    for sight in sights {
        let others = || sights.iter().filter(|other| other.identity != sight.identity);
        let who = &sight.identity;
        let told: BTreeMap<String, _> = others().map(|other| (other.identity.clone(), tracks_of(&other.own))).collect();
        if told != sight.roster {
            faults.push(format!("{who} was told {:?}, and there is {told:?}", sight.roster));
        }
        let audible: HashMap<&str, &OwnTrack> = others()
            .flat_map(|other| &other.own)
            .filter(|track| !track.muted)
            .map(|own| (own.id.as_str(), own))
            .collect();
        if let Some(trouble) = sight.trouble.as_ref().filter(|_| !audible.is_empty()) {
            faults.push(format!("{who} has no connection: {trouble}"));
        }
        let arrived: BTreeSet<&str> = sight.received.iter().map(|arrived| arrived.track.as_str()).collect();
        for track in audible.keys().filter(|track| !arrived.contains(**track)) {
            let owner = others().find(|other| other.own.iter().any(|own| own.id == **track));
            let owner = owner.map(|owner| owner.identity.as_str()).unwrap_or_default();
            faults.push(format!("{who} gets nothing of {track} of {owner}"));
        }
        faults.extend(sight.received.iter().filter_map(|arrived| wrong(who, arrived, &audible)));
    }
    faults
}

fn tracks_of(own: &[OwnTrack]) -> BTreeMap<String, bool> {
    own.iter().map(|track| (track.id.clone(), track.muted)).collect()
}

/// What is wrong with packets that came.
fn wrong(who: &str, arrived: &Arrived, audible: &HashMap<&str, &OwnTrack>) -> Option<String> {
    let Arrived { track, stream, is_where_told, packets } = arrived;
    match audible.get(track.as_str()) {
        None => Some(format!("{who} got {packets} packets of {track}, which nobody publishes")),
        Some(own) if !own.stream_ids.contains(stream) => {
            Some(format!("{who} got {packets} packets of stream {stream} as {track}, which is another one"))
        }
        Some(_) if !is_where_told => Some(format!("{who} got {packets} packets of {track} where nobody said so")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(id: &str, muted: bool, stream: u64) -> OwnTrack {
        OwnTrack { id: id.to_owned(), muted, stream_ids: vec![stream] }
    }

    fn arrived(track: &str, stream: u64) -> Arrived {
        Arrived { track: track.to_owned(), stream, is_where_told: true, packets: 9 }
    }

    /// Ann publishes two tracks, one of them muted; Ben sees and hears what he should.
    fn sights() -> Vec<Sight> {
        let tracks = vec![own("TR_1", false, 1), own("TR_2", true, 2)];
        let ann = Sight {
            identity: "ann".to_owned(),
            roster: BTreeMap::from([("ben".to_owned(), BTreeMap::new())]),
            own: tracks.clone(),
            ..Sight::default()
        };
        let roster = BTreeMap::from([("ann".to_owned(), tracks_of(&tracks))]);
        vec![ann, Sight { identity: "ben".to_owned(), roster, received: vec![arrived("TR_1", 1)], ..Sight::default() }]
    }

    #[test]
    fn a_call_as_it_should_be_has_no_faults_and_each_fault_is_found() {
        assert_eq!(faults_of(&sights()), Vec::<String>::new());
        let with = |change: &dyn Fn(&mut Sight)| {
            let mut sights = sights();
            change(&mut sights[1]);
            faults_of(&sights).join("; ")
        };
        assert_eq!(with(&|ben| ben.received.clear()), "ben gets nothing of TR_1 of ann");
        assert!(with(&|ben| ben.received.push(arrived("TR_2", 2))).contains("TR_2, which nobody publishes"));
        assert!(with(&|ben| ben.received[0].stream = 2).contains("stream 2 as TR_1"));
        assert!(with(&|ben| ben.received[0].is_where_told = false).contains("where nobody said so"));
        assert!(with(&|ben| ben.trouble = Some("gone".to_owned())).contains("no connection: gone"));
        assert!(with(&|ben| ben.roster.clear()).starts_with("ben was told {}"));
    }
}
