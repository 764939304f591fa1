//! Figures for people and for programs.

#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use anyhow::Result;
use sluice_load::Summary;
use sluice_load::scenario::call;
use sluice_load::scenario::fanout::{Report, Times};

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// Prints the report of a fan-out.
pub(crate) fn print(report: &Report, format: Format) -> Result<()> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!("{} viewers, {:.1} s", report.viewers, report.seconds);
    println!(
        "packets      {} published, {} delivered, {} lost at {} viewers, {} duplicates",
        report.published, report.delivered, report.lost, report.viewers_with_loss, report.duplicates
    );
    println!("delay        {}", summary(&report.delay));
    println!("handshake    {} from the request to DTLS", times(&report.handshake));
    println!("late joins   {} from the request to the first packet", times(&report.first_packet));
    println!("             {} from DTLS to the first whole key frame", times(&report.first_key_frame));
    let [first, late] = report.key_frame_requests;
    println!("key frames   {first} asked of the publisher by the first viewers, {late} by the late ones");
    for process in &report.processes {
        println!(
            "process      {} {}: {:.0} ns per packet ({:.1} % of a core), {:.2} ms per join, {:.1} kB per viewer ({:.1} at the end)",
            process.pid,
            process.name,
            process.cpu_ns_per_packet,
            process.cpu_share * 100.0,
            process.cpu_ms_per_join,
            process.rss_bytes_per_viewer / 1e3,
            process.rss_bytes_per_viewer_after / 1e3,
        );
    }
    let [before, after] = report.floor_ns_per_packet;
    println!(
        "sum          {:.0} ns of CPU per delivered packet, {:.2} times the floor",
        report.cpu_ns_per_packet,
        report.cpu_ns_per_packet / f64::midpoint(before, after),
    );
    println!("floor        {before:.0} and {after:.0} ns: a bare sendmmsg of the same datagrams, before and after");
    let generator = &report.generator;
    println!(
        "generator    {:.0} % of {} viewer threads ({:.0} ns per packet), {:.0} % of the publisher's, machine idle {:.0} %",
        generator.viewer_share * 100.0,
        generator.viewer_threads,
        generator.cpu_ns_per_packet,
        generator.publisher_share * 100.0,
        generator.machine_idle_share * 100.0,
    );
    println!("sent late    {}", summary(&generator.lateness));
    for reason in &report.void {
        println!("VOID         {reason}: these figures are the generator's, not the server's");
    }
    Ok(())
}

/// Prints the report of a call.
pub(crate) fn print_call(report: &call::Report, format: Format) -> Result<()> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn summary(summary: &Summary) -> String {
    let Summary { p50_ms, p99_ms, p999_ms, max_ms, .. } = summary;
    format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 {p999_ms:.2} ms, max {max_ms:.2} ms")
}

fn times(times: &Times) -> String {
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({})", times.p50_ms, times.p99_ms, times.max_ms, times.count)
}
