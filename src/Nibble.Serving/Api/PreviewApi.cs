using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Data;
using Nibble.Kernels;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Serving.Jobs;
using Nibble.Serving.Workers;
using Nibble.Training;
using Nibble.Training.Batching;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Serving.Api;

/// <summary>What a job would need and learn, before there is one.</summary>
internal static class PreviewApi
{
    private const int Records = 3;

    /// <summary>Tokens of a record that are shown.</summary>
    private const int Shown = 400;

    public static void MapPreview(this IEndpointRouteBuilder jobs) => jobs.MapPost("preview", async (HttpContext context, ServiceOptions options, DeviceMemory memory) =>
    {
        (JobRequest request, _) = await RequestBody.ReadAsync<JobRequest>(context).ConfigureAwait(false);
        RunConfig config = JobConfiguration.Of(request, options);
        if (Problems.Taken(request, config, options.OutputRoot) is { } taken)
        {
            return taken;
        }

        (string device, long needed) = memory.Predict(config);
        DecoderConfig model = ConfigReader.Read(config.Model);
        try
        {
            DatasetFormat format = DatasetReader.FormOf(config.Data.Train, config.Data.Format);
            return Results.Ok(new JobPreview(
                device, needed, memory.JobDevices[device], [.. MemoryEstimate.Of(config, model, device != ComputeDevice.Cpu).Parts.Select(part => new MemoryPart(part.Name, part.Bytes))],
                ConfigBinder.KeyOf(format.ToString()), Read(config, model, format)));
        }
        catch (InvalidDataException exception)
        {
            throw new FieldException("training_data_path", exception.Message.Replace(config.Data.Train, request.TrainingDataPath, StringComparison.Ordinal));
        }
    }).Takes<JobRequest>().Produces<JobPreview>().WithSummary("What a job would need and learn, before there is one");

    private static List<RecordPreview> Read(RunConfig config, DecoderConfig model, DatasetFormat format)
    {
        int most = Math.Min(config.Data.MaxLength, model.MaxPositionEmbeddings);
        NamedTemplate? template = config.Data.ChatTemplate is { } name ? NamedTemplate.Find(name, "data.chat_template") : null;
        var encoder = new ExampleEncoder(config.Model, most, model.VocabSize, config.Data.PromptFormat, template);
        HfTokenizer? tokenizer = ModelWriter.HasTokenizer(config.Model) ? encoder.Tokenizer : null;
        return [.. DatasetReader.ReadNumbered(config.Data.Train, format).Take(Records).Select(item =>
        {
            EncodedExample whole = ExampleEncoder.At(config.Data.Train, item.Line, () => encoder.Encode(item.Record));
            int shown = Math.Min(whole.InputIds.Length, Math.Min(most, Shown));
            var example = new EncodedExample(whole.InputIds[..shown], whole.Labels[..shown]);
            return new RecordPreview(
                item.Line, whole.InputIds.Length, Math.Min(whole.InputIds.Length, most), whole.Labels.Take(most).Count(label => label >= 0), Joined(ExamplePiece.Of(example, tokenizer)));
        })];
    }

    /// <summary>Neighbours of the same kind as one.</summary>
    private static List<ExamplePiece> Joined(IReadOnlyList<ExamplePiece> pieces)
    {
        var joined = new List<ExamplePiece>();
        foreach (ExamplePiece piece in pieces)
        {
            if (joined is [.., var last] && last.Learned == piece.Learned)
            {
                joined[^1] = last with { Text = last.Text + piece.Text };
            }
            else
            {
                joined.Add(piece);
            }
        }

        return joined;
    }
}

/// <summary>What a job would need and learn.</summary>
/// <param name="Device">Where it would compute.</param>
/// <param name="MemoryBytes">What it is predicted to need there.</param>
/// <param name="DeviceBytes">What that device has for jobs.</param>
/// <param name="Memory">For what it needs it.</param>
/// <param name="Format">The form of the examples.</param>
/// <param name="Records">The first of them.</param>
internal sealed record JobPreview(string Device, long MemoryBytes, long DeviceBytes, IReadOnlyList<MemoryPart> Memory, string Format, IReadOnlyList<RecordPreview> Records);

/// <summary>Bytes by what they are for.</summary>
internal sealed record MemoryPart(string Name, long Bytes);

/// <summary>A record as the model would see it.</summary>
/// <param name="Line">Its line in the file.</param>
/// <param name="Tokens">How long it is.</param>
/// <param name="Kept">How much of it <c>data.max_length</c> leaves.</param>
/// <param name="Learned">Tokens of that which are learned.</param>
/// <param name="Pieces">The beginning of its text.</param>
internal sealed record RecordPreview(int Line, int Tokens, int Kept, int Learned, IReadOnlyList<ExamplePiece> Pieces);
