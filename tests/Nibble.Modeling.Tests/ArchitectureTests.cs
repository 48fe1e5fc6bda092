using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Tests;

/// <summary>Random checkpoints of each architecture with logits, losses, gradients and greedy text computed by transformers.</summary>
public class ArchitectureTests
{
    [Theory]
    [InlineData("llama")]
    [InlineData("llama3_rope")]
    [InlineData("llama_bias_tied")]
    [InlineData("llama_dynamic")]
    [InlineData("llama_linear_rope")]
    [InlineData("llama_yarn")]
    [InlineData("mistral_sliding")]
    [InlineData("qwen2")]
    [InlineData("qwen3")]
    public void Single_sequences_match_transformers_in_logits_loss_and_gradients(string name)
    {
        string folder = SharedFolder.Path("vectors", "architectures", "single", name);
        JsonNode expected = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")))!;
        foreach (JsonNode? item in expected["cases"]!.AsArray())
        {
            using DisposeScope scope = NewDisposeScope();
            using DecoderModel model = ModelLoader.Load(folder);
            TokenBatch batch = TokenBatch.Of(Ints(item!["input_ids"])) with { Labels = Ints(item["labels"]) };
            AssertLogits(model, batch, Floats(Path.Combine(folder, (string)item["logits"]!)), 1e-4f);
            AssertLossAndGradients(model, batch, (double)item["loss"]!, item["grad_norms"]!.AsObject());
        }

        if (name == "llama_dynamic")
        {
            // The peer's model had read 96 tokens before it generated and keeps the frequencies that grew with them; here
            // frequencies depend on the sequence alone, so this text belongs to another function.
            return;
        }

        using DecoderModel whole = ModelLoader.Load(folder);
        int[] prompt = Ints(expected["greedy"]!["prompt"]);
        int[] text = Ints(expected["greedy"]!["ids"]);
        var options = new GenerationOptions { MaxNewTokens = text.Length - prompt.Length, EosTokenIds = [] };
        Assert.Equal(text[prompt.Length..], TextGenerator.Generate(whole, [prompt], options)[0]);
    }

    [Theory]
    [InlineData("llama")]
    [InlineData("llama31_rope")]
    [InlineData("mistral_swa")]
    [InlineData("qwen2")]
    [InlineData("qwen3")]
    public void Left_padded_batches_match_transformers_in_logits_loss_gradients_and_greedy_text(string name)
    {
        string folder = SharedFolder.Path("vectors", "architectures", "batched", name);
        JsonNode expected = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "reference.json")))!;
        int[][] mask = Rows(expected["attention_mask"]);
        using DisposeScope scope = NewDisposeScope();
        using DecoderModel model = ModelLoader.Load(folder);
        TokenBatch batch = TokenBatch.FromPadded(Rows(expected["input_ids"]), mask, Rows(expected["labels"]));
        float[] all = Floats(Path.Combine(folder, "ref_logits.f32"));
        int vocab = model.Config.VocabSize;
        float[] kept = [.. mask.SelectMany((row, i) => row.SelectMany((value, j) => value == 0 ? [] : all[(((i * row.Length) + j) * vocab)..(((i * row.Length) + j + 1) * vocab)]))];
        AssertLogits(model, batch, kept, 1e-4f);
        AssertLossAndGradients(model, batch, (double)expected["loss"]!, expected["grad_l2"]!.AsObject());
        int[] prompt = Ints(expected["greedy_prompt"]);
        int[] continuation = Ints(expected["greedy_continuation"]);
        var options = new GenerationOptions { MaxNewTokens = continuation.Length, EosTokenIds = [] };
        int[][] found = TextGenerator.Generate(model, [prompt, prompt[..3], prompt], options);
        Assert.Equal(continuation, found[0]);
        Assert.Equal(continuation, found[2]);
    }

    private static void AssertLogits(DecoderModel model, TokenBatch batch, float[] expected, float tolerance)
    {
        using IDisposable noGrad = no_grad();
        float[] found = model.Logits(model.Forward(batch)).data<float>().ToArray();
        Assert.Equal(expected.Length, found.Length);
        float worst = expected.Zip(found, (a, b) => Math.Abs(a - b)).Max();
        Assert.True(worst <= tolerance, $"logits differ by {worst}");
    }

    private static void AssertLossAndGradients(DecoderModel model, TokenBatch batch, double loss, JsonObject gradients)
    {
        model.UnfreezeAll();
        int count = batch.ShiftedLabels().Count(label => label >= 0);
        Tensor mean = model.TokenLosses(batch).sum() / count;
        Assert.Equal(loss, mean.item<float>(), 1e-5 * Math.Max(1, loss));
        Kernels.BackwardPass.Run(mean);
        Dictionary<string, Parameter> parameters = model.Parameters.ToDictionary(parameter => parameter.Name);
        foreach ((string key, JsonNode? norm) in gradients.Where(item => parameters.ContainsKey(item.Key)))
        {
            double found = parameters[key].Value.grad!.norm().item<float>();
            Assert.True(Math.Abs(found - (double)norm!) <= 1e-3 * (double)norm! + 1e-9, $"{key}: gradient norm {found}, expected {norm}");
        }

        Assert.Empty(parameters.Keys.Except(gradients.Select(item => item.Key)));
    }

    private static int[] Ints(JsonNode? node) => [.. node!.AsArray().Select(value => (int)value!)];

    private static int[][] Rows(JsonNode? node) => [.. node!.AsArray().Select(Ints)];

    private static float[] Floats(string path) => MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(path)).ToArray();
}
