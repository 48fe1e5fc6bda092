using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Tests;

/// <summary>Adapters that PEFT made, with its logits and its merged checkpoints.</summary>
public class AdapterTests
{
    private static string Base => SharedFolder.Path("models", "stories260K", "hf");

    [Theory]
    [InlineData("lora_all_linear")]
    [InlineData("lora_all_r8")]
    [InlineData("lora_modules_to_save")]
    [InlineData("lora_qv_r4_rslora")]
    public void Adapters_of_PEFT_give_its_logits_survive_a_round_trip_and_merge_to_its_checkpoint(string name)
    {
        string folder = SharedFolder.Path("vectors", "adapters", name);
        JsonNode reference = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "reference.json")))!;
        int[] ids = [.. reference["input_ids"]![0]!.AsArray().Select(id => (int)id!)];
        float[] expected = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(Path.Combine(folder, "ref_logits.f32"))).ToArray();
        using var output = new TempFolder();
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using (DecoderModel model = ModelLoader.Load(Base))
        using (LoraAdapter adapter = AdapterFolder.Load(model, folder))
        {
            AssertClose(expected, Logits(model, ids), 1e-4f);
            AdapterFolder.Save(adapter, output.Path, "base");
            Directory.CreateDirectory(output["merged"]);
            ModelWriter.Write(model, Base, output["merged"], ScalarType.Float32, LoraAdapter.Merged);
        }

        using (DecoderModel model = ModelLoader.Load(Base))
        using (LoraAdapter again = AdapterFolder.Load(model, output.Path))
        {
            AssertClose(expected, Logits(model, ids), 1e-4f);
        }

        using DecoderModel merged = ModelLoader.Load(output["merged"]);
        AssertClose(expected, Logits(merged, ids), 1e-4f);
        string theirs = Path.Combine(folder, "merged", "model.safetensors");
        if (File.Exists(theirs))
        {
            using SafetensorsFile ours = SafetensorsFile.Open(Path.Combine(output["merged"], "model.safetensors"));
            using SafetensorsFile peer = SafetensorsFile.Open(theirs);
            Assert.Equal(peer.Tensors.Keys.Order(), ours.Tensors.Keys.Order());
            Assert.All(peer.Tensors.Keys, key => Assert.True((ours.View(key) - peer.View(key)).abs().max().item<float>() <= 1e-5f, key));
        }
    }

    [Fact]
    public void An_adapter_for_another_model_is_refused_with_the_shapes()
    {
        using DecoderModel other = ModelLoader.Load(SharedFolder.Path("vectors", "architectures", "batched", "llama"));
        var exception = Assert.Throws<InvalidDataException>(() => AdapterFolder.Load(other, SharedFolder.Path("vectors", "adapters", "lora_all_r8")));
        Assert.Contains("another model", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_quantised_folder_is_read_back_to_the_same_weights()
    {
        using var output = new TempFolder();
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using DecoderModel quantized = ModelLoader.Load(Base, new LoadOptions { QuantizeNf4 = true });
        ModelWriter.WriteQuantized(quantized, Base, output.Path);
        using DecoderModel read = ModelLoader.Load(output.Path);
        Assert.Equal(Logits(quantized, [1, 403, 407]), Logits(read, [1, 403, 407]));
        using SafetensorsFile file = SafetensorsFile.Open(output["model.safetensors"]);
        Assert.Contains("model.layers.0.mlp.down_proj.weight.quant_state.bitsandbytes__nf4", file.Tensors.Keys);
    }

    private static float[] Logits(DecoderModel model, int[] ids) => model.Logits(model.Forward(TokenBatch.Of(ids))).data<float>().ToArray();

    private static void AssertClose(float[] expected, float[] found, float tolerance)
    {
        float worst = expected.Zip(found, (a, b) => Math.Abs(a - b)).Max();
        Assert.True(worst <= tolerance, $"logits differ by {worst}");
    }
}
