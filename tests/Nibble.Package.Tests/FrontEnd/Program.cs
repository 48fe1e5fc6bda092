using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training;
using Nibble.Training.Configuration;

string model = args[0];
File.WriteAllLines("train.jsonl", Enumerable.Range(0, 40).Select(i => $$"""{"instruction": "Add one to {{i}}.", "output": "{{i + 1}}"}"""));

var trainer = new QLoraTrainer(
    model,
    new QLoraConfig { Lora = new LoraConfig { R = 8, TargetModules = [LoraConfig.AllLinear] } },
    new TrainingSection { MaxSteps = 10, PerDeviceTrainBatchSize = 2, GradientAccumulationSteps = 1, LearningRate = 1e-2 });
TrainingResult result = trainer.Train(new DataSection { Train = "train.jsonl", MaxLength = 128 }, "out");
Console.WriteLine($"steps {result.Steps}");
Console.WriteLine($"learned {result.Losses[^1].Loss < result.Losses[0].Loss}");

var tokenizer = HfTokenizer.FromPretrained(model);
using DecoderModel decoder = ModelLoader.Load(model);
using LoraAdapter adapter = AdapterFolder.Load(decoder, "out");
int[] tokens = TextGenerator.Generate(decoder, [tokenizer.Encode("Add one to 7.", addSpecialTokens: true)], new GenerationOptions { MaxNewTokens = 4 })[0];
Console.WriteLine($"generated {tokens.Length}");
