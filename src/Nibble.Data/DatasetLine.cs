using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>A record with where it comes from.</summary>
/// <param name="Line">The line where it begins; in JSON arrays and Parquet files its place, from 1.</param>
/// <param name="Record">The record.</param>
/// <param name="Fields">All fields of the line, mapped ones under both names.</param>
public sealed record DatasetLine(int Line, DatasetRecord Record, JsonObject Fields);
