using System.Text.Json.Nodes;
using Nibble.Kernels;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Serving.Chat;

/// <summary>A base model in NF4, and the adapter over it that was last asked for.</summary>
internal sealed class ChatModel : IDisposable
{
    private readonly string folder;
    private readonly DecoderModel model;
    private readonly HfTokenizer tokenizer;
    private LoraAdapter? adapter;
    private (string Folder, DateTime Written)? attached;
    private ChatEncoder encoder;

    /// <exception cref="InvalidDataException">The folder holds no model that can be used.</exception>
    public ChatModel(ChatOrder order)
    {
        folder = order.Folder;
        tokenizer = HfTokenizer.FromPretrained(folder);
        encoder = EncoderOf(folder);
        model = ModelLoader.Load(folder, new LoadOptions { DType = DTypeNames.Parse(new RunConfig().Dtype), Device = ComputeDevice.Choose(order.Device, _ => { }), QuantizeNf4 = true });
    }

    /// <summary>Tokens of a conversation and its answer.</summary>
    private int Room => Math.Min(ChatMemory.LongestContext, model.Config.MaxPositionEmbeddings);

    /// <summary>Goes on with a conversation.</summary>
    /// <param name="prompt">The conversation.</param>
    /// <param name="onText">Is told of the answer's text as it comes.</param>
    /// <param name="cancellation">Ends it.</param>
    public ChatReply Answer(ChatPrompt prompt, Action<string> onText, CancellationToken cancellation)
    {
        try
        {
            Attach(prompt.Adapter);
            int[] ids = encoder.EncodeIds(prompt.Messages, new JsonObject { ["add_generation_prompt"] = true });
            return ids.Length < Room ? Answer(prompt, ids, onText, cancellation) : new ChatReply
            {
                Problem = $"the conversation has {ids.Length} tokens, and the model reads at most {Room} including the answer",
                Code = "context_length_exceeded",
            };
        }
        catch (Exception exception) when (exception is ChatTemplateException or InvalidDataException or FileNotFoundException or DirectoryNotFoundException)
        {
            return new ChatReply { Problem = exception.Message.TrimEnd('.') };
        }
    }

    public void Dispose()
    {
        adapter?.Dispose();
        model.Dispose();
    }

    private ChatReply Answer(ChatPrompt prompt, int[] ids, Action<string> onText, CancellationToken cancellation)
    {
        var text = new AnswerText(tokenizer, prompt.Stop, onText);
        int count = 0;
        int last = -1;
        var options = new GenerationOptions
        {
            MaxNewTokens = Math.Min(prompt.MaxTokens ?? int.MaxValue, Room - ids.Length),
            Temperature = prompt.Temperature,
            TopP = prompt.TopP,
            Seed = prompt.Seed,
            StopWhen = _ => text.IsStopped,
        };
        try
        {
            TextGenerator.Generate(model, [ids], options, Add, cancellation);
        }
        catch (OperationCanceledException)
        {
            return End(ChatReply.Cancelled);
        }

        text.End();
        return End(text.IsStopped || model.Config.EosTokenIds.Contains(last) ? "stop" : "length");

        void Add(int sequence, int token)
        {
            (count, last) = (count + 1, token);
            text.Add(token);
        }

        ChatReply End(string finish) => new() { Finish = finish, PromptTokens = ids.Length, CompletionTokens = count };
    }

    private void Attach(string? asked)
    {
        (string, DateTime)? wanted = asked is null ? null : (asked, File.GetLastWriteTimeUtc(Path.Combine(asked, "adapter_model.safetensors")));
        if (wanted == attached)
        {
            return;
        }

        adapter?.Dispose();
        (adapter, attached) = (null, null);
        encoder = EncoderOf(asked ?? folder);
        adapter = asked is null ? null : AdapterFolder.Load(model, asked, RequireNoModules);
        attached = wanted;
    }

    /// <summary>Whole modules would take the place of the base model's, which others share.</summary>
    private static LoraConfig RequireNoModules(LoraConfig config) => config.ModulesToSave.Count == 0 ? config
        : throw new InvalidDataException("the adapter has modules_to_save, which cannot be swapped over a shared base model; merge it into a model of its own");

    /// <summary>As the model was trained, else with its own template, else with the engine's.</summary>
    private ChatEncoder EncoderOf(string weights) => new(tokenizer, ChatTemplate.Parse(
        PromptFormat.Read(weights)?.Template?.Text ?? tokenizer.ChatTemplate ?? NamedTemplate.Find(NamedTemplate.Roles, "").Text));
}
