using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>
/// NF4 weights in bitsandbytes' tensors: <c>weight</c> (packed), <c>weight.absmax</c>, <c>weight.quant_map</c>, for double
/// quantisation <c>weight.nested_absmax</c> and <c>weight.nested_quant_map</c>, and the rest as JSON bytes in
/// <c>weight.quant_state.bitsandbytes__nf4</c>.
/// </summary>
internal static class Nf4Checkpoint
{
    private const string State = "weight.quant_state.bitsandbytes__nf4";

    public static bool Contains(CheckpointTensors checkpoint, string path) => checkpoint.Contains($"{path}.{State}");

    public static Nf4Weight Read(CheckpointTensors checkpoint, string path, int rows, int columns, Device device, ISet<string> used)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor Part(string name)
        {
            used.Add($"{path}.{name}");
            return checkpoint.View($"{path}.{name}");
        }

        Tensor Own(string name)
        {
            Tensor own = Part(name).view(-1).to(device, copy: true).DetachFromDisposeScope();
            checkpoint.Release($"{path}.{name}");
            return own;
        }

        InvalidDataException Invalid(string problem) => new($"{checkpoint.Location}: NF4 weight '{path}' {problem}.");

        JsonObject state;
        try
        {
            state = JsonNode.Parse(Part(State).bytes.ToArray()) as JsonObject ?? throw Invalid("has a quant_state that is not an object");
        }
        catch (JsonException exception)
        {
            throw Invalid($"has a malformed quant_state ({exception.Message})");
        }

        if (state["quant_type"]?.GetValue<string>() != "nf4" || state["blocksize"]?.GetValue<int>() != Nf4.Block)
        {
            throw Invalid($"is {state["quant_type"]} with block size {state["blocksize"]}; nf4 with {Nf4.Block} is supported");
        }

        int[] shape = state["shape"].Deserialize<int[]>() ?? [];
        if (shape is not [int r, int c] || r != rows || c != columns)
        {
            throw Invalid($"has shape [{string.Join(", ", shape)}], but config.json makes it [{rows}, {columns}]");
        }

        RequireMap(Part("weight.quant_map"), Nf4.Code(), "quant_map", Invalid);
        try
        {
            Tensor packed = Own("weight");
            Tensor absmax = Own("weight.absmax");
            if (state["nested_offset"] is not { } offset)
            {
                return Nf4Weight.FromParts(rows, columns, packed, absmax);
            }

            if (state["nested_blocksize"]?.GetValue<int>() != Nf4.AbsmaxBlock)
            {
                throw Invalid($"has nested block size {state["nested_blocksize"]}; {Nf4.AbsmaxBlock} is supported");
            }

            RequireMap(Part("weight.nested_quant_map"), Nf4.DynamicMap(), "nested_quant_map", Invalid);
            Tensor nested = Own("weight.nested_absmax");
            return Nf4Weight.FromParts(rows, columns, packed, absmax, nested, offset.GetValue<float>());
        }
        catch (ArgumentException exception)
        {
            throw Invalid($"is inconsistent ({exception.Message})");
        }
    }

    /// <summary>The tensors of a weight, to be written.</summary>
    /// <param name="path">Path of its layer.</param>
    /// <param name="weight">The weight.</param>
    /// <param name="dtype">The dtype that peers dequantise to.</param>
    public static IEnumerable<TensorToWrite> Parts(string path, Nf4Weight weight, ScalarType dtype)
    {
        var state = new JsonObject
        {
            ["quant_type"] = "nf4",
            ["blocksize"] = Nf4.Block,
            ["dtype"] = DTypeNames.Of(dtype),
            ["shape"] = new JsonArray(weight.OutFeatures, weight.InFeatures),
        };
        long elements = weight.OutFeatures * weight.InFeatures;
        bool nested = weight.NestedAbsmax is not null;
        yield return new($"{path}.weight", ScalarType.Byte, [(elements + 1) / 2, 1], Column);
        yield return new($"{path}.weight.absmax", nested ? ScalarType.Byte : ScalarType.Float32, [(elements + Nf4.Block - 1) / Nf4.Block], weight.Scales);
        yield return Ready("weight.quant_map", Nf4.Code());
        if (nested)
        {
            state["nested_blocksize"] = Nf4.AbsmaxBlock;
            state["nested_dtype"] = "float32";
            state["nested_offset"] = weight.AbsmaxOffset;
            yield return Ready("weight.nested_absmax", weight.NestedAbsmax!);
            yield return Ready("weight.nested_quant_map", Nf4.DynamicMap());
        }

        yield return Ready(State, tensor(JsonSerializer.SerializeToUtf8Bytes(state), ScalarType.Byte));

        Tensor Column()
        {
            using Tensor packed = weight.Packed();
            return packed.view(-1, 1);
        }

        TensorToWrite Ready(string name, Tensor part) => TensorToWrite.Of(new($"{path}.{name}", part));
    }

    private static void RequireMap(Tensor found, Tensor expected, string name, Func<string, InvalidDataException> invalid)
    {
        if (!found.shape.SequenceEqual(expected.shape) || !found.to(ScalarType.Float32).allclose(expected, 0, 1e-7))
        {
            throw invalid($"was quantised with a {name} of its own; only the standard one is supported");
        }
    }
}
