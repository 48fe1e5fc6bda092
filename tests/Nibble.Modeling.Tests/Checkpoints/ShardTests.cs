using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Tests.Checkpoints;

public class ShardTests
{
    private const long ShardBytes = 300_000;

    private static string Whole => SharedFolder.Path("models", "stories260K", "hf");

    private static string Sharded => SharedFolder.Path("models", "stories260K", "hf_v5_sharded");

    [Fact]
    public void A_large_model_is_divided_and_named_as_transformers_does_it()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["out"]);
        using (DecoderModel model = ModelLoader.Load(Whole, new LoadOptions { DType = ScalarType.Float32 }))
        {
            ModelWriter.Write(model, Whole, folder["out"], ScalarType.Float32, shardBytes: ShardBytes);
        }

        const string Index = "model.safetensors.index.json";
        Assert.Equal(File.ReadAllText(Path.Combine(Sharded, Index)).TrimEnd(), File.ReadAllText(Path.Combine(folder["out"], Index)).TrimEnd());
        Assert.Equal(Shards(Sharded), Shards(folder["out"]));
        foreach (string name in Shards(Sharded))
        {
            using SafetensorsFile theirs = SafetensorsFile.Open(Path.Combine(Sharded, name));
            using SafetensorsFile ours = SafetensorsFile.Open(Path.Combine(folder["out"], name));
            Assert.Equal(theirs.Tensors.Keys.Order(), ours.Tensors.Keys.Order());
            Assert.All(theirs.Tensors.Keys, key =>
            {
                using Tensor expected = theirs.View(key);
                using Tensor found = ours.View(key);
                Assert.True(expected.equal(found).all().item<bool>(), key);
            });
        }
    }

    [Fact]
    public void A_quantised_model_in_shards_is_read_back_to_the_same_logits_also_where_a_weight_is_larger_than_a_shard()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["whole"]);
        Directory.CreateDirectory(folder["shards"]);
        using (DecoderModel model = ModelLoader.Load(Whole, new LoadOptions { QuantizeNf4 = true }))
        {
            ModelWriter.WriteQuantized(model, Whole, folder["whole"]);
            ModelWriter.WriteQuantized(model, Whole, folder["shards"], shardBytes: 20_000);
        }

        Assert.Equal(["model.safetensors"], Shards(folder["whole"]));
        Assert.True(Shards(folder["shards"]).Length > 5);
        Assert.Equal(Logits(folder["whole"]), Logits(folder["shards"]));
    }

    private static string[] Shards(string folder) => [.. Directory.EnumerateFiles(folder, "*.safetensors").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private static float[] Logits(string folder)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using DecoderModel model = ModelLoader.Load(folder);
        return model.Logits(model.Forward(TokenBatch.Of([1, 403, 407]))).to(ScalarType.Float32).data<float>().ToArray();
    }
}
